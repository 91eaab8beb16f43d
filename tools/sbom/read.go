package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
)

// read returns every file below a folder, in the order of their paths. No file at all is
// an error: a bill of nothing helps nobody.
func read(root fs.FS) ([]file, error) {
	var files []file
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("reading %q: it is no file", path)
		}
		content, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		f := file{path: path, sum: hex.EncodeToString(sum[:])}
		// What is no Go program has no build information, and an error says so.
		if program, err := buildinfo.Read(bytes.NewReader(content)); err == nil {
			f.program = program
		}
		files = append(files, f)
		return nil
	})
	if err == nil && len(files) == 0 {
		err = errors.New("there are none")
	}
	return files, err
}
