package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Archive is what an OCI archive holds: one image for each platform.
type Archive struct {
	// Digest stands for all that follows: "sha256:" and 64 hexadecimal digits.
	Digest string
	Images []Image
	path   string
}

// Image is the image for one platform.
type Image struct {
	// Platform is an operating system with an architecture, "linux/arm64".
	Platform string
	Digest   string
	// Compressed is what a node pulls, in bytes.
	Compressed int64
	Config     Config
	layers     []descriptor
}

// Config is what an image says about how to run it, as far as it is of interest here.
// The names are those of the OCI image specification.
type Config struct {
	Created      time.Time
	OS           string
	Architecture string
	Config       struct {
		User       string
		Entrypoint []string
		Env        []string
		Labels     map[string]string
	}
}

type descriptor struct {
	MediaType string
	Digest    string
	Size      int64
}

// index and manifest are documents of the OCI image specification.
type (
	index struct{ Manifests []descriptor }

	manifest struct {
		Config descriptor
		Layers []descriptor
	}
)

const indexType = "application/vnd.oci.image.index.v1+json"

// Read reads an archive of the format [OCI] that holds one image, for any number of
// platforms.
func Read(path string) (Archive, error) {
	archive, err := read(path)
	if err != nil {
		return archive, fmt.Errorf("reading image archive %q: %w", path, err)
	}
	return archive, nil
}

func read(path string) (Archive, error) {
	archive := Archive{path: path}
	var layout, platforms index
	if err := archive.decodeFile("index.json", "", &layout); err != nil {
		return archive, err
	}
	if len(layout.Manifests) != 1 || layout.Manifests[0].MediaType != indexType {
		return archive, fmt.Errorf("want one image with a list of platforms, found %v", layout.Manifests)
	}
	archive.Digest = layout.Manifests[0].Digest
	if err := archive.decode(layout.Manifests[0], &platforms); err != nil {
		return archive, err
	}
	for _, platform := range platforms.Manifests {
		image, err := archive.image(platform)
		if err != nil {
			return archive, err
		}
		archive.Images = append(archive.Images, image)
	}
	return archive, nil
}

func (a Archive) image(described descriptor) (Image, error) {
	var m manifest
	image := Image{Digest: described.Digest}
	if err := a.decode(described, &m); err != nil {
		return image, err
	}
	if err := a.decode(m.Config, &image.Config); err != nil {
		return image, err
	}
	image.Platform = image.Config.OS + "/" + image.Config.Architecture
	image.layers = m.Layers
	image.Compressed = described.Size + m.Config.Size
	for _, layer := range m.Layers {
		image.Compressed += layer.Size
	}
	return image, nil
}

// decode reads a document by its digest, which the document has to have.
func (a Archive) decode(described descriptor, into any) error {
	return a.decodeFile(blobPath(described.Digest), described.Digest, into)
}

func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// decodeFile reads a document of an archive. An empty digest is not compared.
func (a Archive) decodeFile(name, digest string, into any) error {
	file, err := a.open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	// A document is a few kB long; a layer that is taken for one is not read to its end.
	const enough = 4 << 20
	text, err := io.ReadAll(io.LimitReader(file, enough))
	if err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	if sum := sha256.Sum256(text); digest != "" && digest != "sha256:"+hex.EncodeToString(sum[:]) {
		return fmt.Errorf("reading %q: it is not what its digest says", name)
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(into); err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	return nil
}

// open opens one file of an archive.
func (a Archive) open(name string) (io.ReadCloser, error) {
	file, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	for entries := tar.NewReader(file); ; {
		entry, err := entries.Next()
		if err != nil {
			_ = file.Close()
			if errors.Is(err, io.EOF) {
				err = os.ErrNotExist
			}
			return nil, fmt.Errorf("looking for %q: %w", name, err)
		}
		if entry.Name == name {
			return struct {
				io.Reader
				io.Closer
			}{entries, file}, nil
		}
	}
}

// Image returns the image for a platform, and whether there is one.
func (a Archive) Image(platform string) (Image, bool) {
	at := slices.IndexFunc(a.Images, func(i Image) bool { return i.Platform == platform })
	if at < 0 {
		return Image{}, false
	}
	return a.Images[at], true
}
