package image

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Extract writes the files of an image to a folder, which has to be there, with their
// modes and as whoever calls. Nothing is written outside of the folder, whatever the
// image says. It knows files and folders, which is all that an image from scratch needs;
// anything else in it is an error.
func (a Archive) Extract(image Image, folder string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return fmt.Errorf("opening folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	for _, layer := range image.layers {
		if err := a.extract(layer, root); err != nil {
			return fmt.Errorf("extracting layer %q of image archive %q: %w", layer.Digest, a.path, err)
		}
	}
	return nil
}

func (a Archive) extract(layer descriptor, root *os.Root) error {
	if !strings.HasSuffix(layer.MediaType, "tar+gzip") {
		return fmt.Errorf("its type %q is not known", layer.MediaType)
	}
	blob, err := a.open(blobPath(layer.Digest))
	if err != nil {
		return err
	}
	defer func() { _ = blob.Close() }()
	unzipped, err := gzip.NewReader(blob)
	if err != nil {
		return fmt.Errorf("unzipping: %w", err)
	}
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		if err := write(root, entry, entries); err != nil {
			return fmt.Errorf("writing %q: %w", entry.Name, err)
		}
	}
}

// write writes one file or folder.
func write(root *os.Root, entry *tar.Header, content io.Reader) error {
	name := path.Clean(strings.TrimPrefix(entry.Name, "/"))
	mode := entry.FileInfo().Mode().Perm()
	switch entry.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(name, mode); err != nil {
			return err
		}
	case tar.TypeReg:
		file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	default:
		return fmt.Errorf("its type %q is not known", entry.Typeflag)
	}
	// What was asked for above went through the umask.
	return root.Chmod(name, mode)
}
