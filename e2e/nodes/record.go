//go:build linux

package nodes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	folderPattern = "ebbtide-nodes-*"
	ownerFile     = "owner.json"
	// ownerWithin is how old a folder without an owner has to be before nobody can be
	// about to write one.
	ownerWithin = time.Minute
)

// owner tells whose a folder is. An id alone would not: it may be another's by now.
type owner struct {
	PID     int
	Started string // as in /proc/PID/stat: clock ticks since the machine's start
}

// newFolder makes the folder of a run, with its owner in it.
func newFolder() (string, error) {
	dir, err := os.MkdirTemp("", folderPattern)
	if err != nil {
		return "", fmt.Errorf("creating state folder: %w", err)
	}
	self, err := readStat(os.Getpid())
	if err == nil {
		var content []byte
		if content, err = json.Marshal(owner{PID: os.Getpid(), Started: self.started}); err == nil {
			err = os.WriteFile(filepath.Join(dir, ownerFile), content, 0o600)
		}
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("recording the owner of %q: %w", dir, err), os.RemoveAll(dir))
	}
	return dir, nil
}

// sweep removes what runs have left that were killed together with their janitors. Their
// nodes are gone: they ended with their owner.
func sweep(temporary string, progress io.Writer) error {
	folders, err := filepath.Glob(filepath.Join(temporary, folderPattern))
	if err != nil {
		return fmt.Errorf("looking for leftovers: %w", err)
	}
	for _, folder := range folders {
		left, err := leftBehind(folder)
		if err != nil {
			return err
		}
		if !left {
			continue
		}
		_, _ = fmt.Fprintf(progress, "nodes: removing what a killed run left in %s\n", folder)
		if err := errors.Join(removeGroup(filepath.Base(folder)), os.RemoveAll(folder)); err != nil {
			return fmt.Errorf("removing leftovers: %w", err)
		}
	}
	return nil
}

func leftBehind(folder string) (bool, error) {
	content, err := os.ReadFile(filepath.Join(folder, ownerFile))
	if errors.Is(err, fs.ErrNotExist) {
		info, err := os.Stat(folder)
		return err == nil && time.Since(info.ModTime()) > ownerWithin, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading owner: %w", err)
	}
	var o owner
	if err := json.Unmarshal(content, &o); err != nil {
		return false, fmt.Errorf("decoding owner of %q: %w", folder, err)
	}
	running, err := readStat(o.PID)
	if ended(err) {
		return true, nil
	}
	return err == nil && running.started != o.Started, err
}
