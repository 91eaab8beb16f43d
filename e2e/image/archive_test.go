package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layout composes the files of an OCI archive by hand, so that an archive can be wrong.
type layout struct {
	t     *testing.T
	files map[string][]byte
}

// blob adds a blob and describes it.
func (l layout) blob(mediaType string, content []byte) descriptor {
	sum := sha256.Sum256(content)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	l.files[blobPath(digest)] = content
	return descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(content))}
}

func (l layout) document(mediaType string, content any) descriptor {
	l.t.Helper()
	text, err := json.Marshal(content)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.blob(mediaType, text)
}

// image adds an image for an architecture with one layer.
func (l layout) image(architecture string, entries ...*tar.Header) descriptor {
	l.t.Helper()
	var layer bytes.Buffer
	zipped := gzip.NewWriter(&layer)
	l.tar(zipped, entries)
	if err := zipped.Close(); err != nil {
		l.t.Fatal(err)
	}
	return l.document("manifest", manifest{
		Config: l.document("config", Config{OS: "linux", Architecture: architecture}),
		Layers: []descriptor{l.blob("application/vnd.oci.image.layer.v1.tar+gzip", layer.Bytes())},
	})
}

// tar writes entries; each file holds its own name.
func (l layout) tar(to interface{ Write([]byte) (int, error) }, entries []*tar.Header) {
	l.t.Helper()
	writer := tar.NewWriter(to)
	for _, entry := range entries {
		if entry.Typeflag == tar.TypeReg {
			entry.Size = int64(len(entry.Name))
		}
		if err := writer.WriteHeader(entry); err != nil {
			l.t.Fatal(err)
		}
		if entry.Typeflag == tar.TypeReg {
			if _, err := writer.Write([]byte(entry.Name)); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	if err := writer.Close(); err != nil {
		l.t.Fatal(err)
	}
}

// write writes the archive with the images that were described.
func (l layout) write(images ...descriptor) string {
	l.t.Helper()
	top, err := json.Marshal(index{[]descriptor{l.document(indexType, index{images})}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.files["index.json"] = top
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	for name, content := range l.files {
		if err := writer.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))}); err != nil {
			l.t.Fatal(err)
		}
		if _, err := writer.Write(content); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		l.t.Fatal(err)
	}
	path := filepath.Join(l.t.TempDir(), "image.tar")
	if err := os.WriteFile(path, archive.Bytes(), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

func newLayout(t *testing.T) layout {
	t.Helper()
	return layout{t: t, files: map[string][]byte{}}
}

func TestAnArchiveTellsWhatItHoldsForEachPlatform(t *testing.T) {
	t.Parallel()
	l := newLayout(t)
	amd64, arm64 := l.image("amd64"), l.image("arm64")
	archive, err := Read(l.write(amd64, arm64))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, i := range archive.Images {
		found = append(found, i.Platform+" "+i.Digest)
	}
	if diff := cmp.Diff([]string{"linux/amd64 " + amd64.Digest, "linux/arm64 " + arm64.Digest}, found); diff != "" {
		t.Error(diff)
	}
	first, there := archive.Image("linux/amd64")
	if want := amd64.Size + first.layers[0].Size; !there || first.Compressed <= want {
		t.Errorf("%d bytes to pull, want the manifest, the layer (%d bytes together) and the configuration", first.Compressed, want)
	}
	if _, there := archive.Image("linux/riscv64"); there {
		t.Error("it has a platform that nobody built")
	}
}

func TestAnArchiveThatWasChangedIsNotRead(t *testing.T) {
	t.Parallel()
	l := newLayout(t)
	image := l.image("amd64")
	l.files[blobPath(image.Digest)] = append(l.files[blobPath(image.Digest)], ' ')
	if _, err := Read(l.write(image)); err == nil || !strings.Contains(err.Error(), "not what its digest says") {
		t.Errorf("error %v", err)
	}
}

func TestAnArchiveThatLacksSomethingSaysWhat(t *testing.T) {
	t.Parallel()
	l := newLayout(t)
	image := l.image("amd64")
	delete(l.files, blobPath(image.Digest))
	if _, err := Read(l.write(image)); err == nil || !strings.Contains(err.Error(), image.Digest[len("sha256:"):]) {
		t.Errorf("error %v", err)
	}
}

func TestFilesAreExtractedWithTheirModes(t *testing.T) {
	t.Parallel()
	l := newLayout(t)
	path := l.write(l.image("amd64",
		&tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755},
		&tar.Header{Typeflag: tar.TypeReg, Name: "etc/config", Mode: 0o644},
		&tar.Header{Typeflag: tar.TypeReg, Name: "/program", Mode: 0o777}))
	archive, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := archive.Extract(archive.Images[0], folder); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"etc": "drwxr-xr-x", "etc/config": "-rw-r--r--", "program": "-rwxrwxrwx"}
	if diff := cmp.Diff(want, modes(t, folder)); diff != "" {
		t.Error(diff)
	}
	if content, err := os.ReadFile(filepath.Join(folder, "etc", "config")); err != nil || string(content) != "etc/config" {
		t.Errorf("it holds %q, %v", content, err)
	}
}

// modes returns every file and folder below a folder, with its mode.
func modes(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			found[name] = info.Mode().String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestNothingIsWrittenThatAFolderOfFilesCannotHold(t *testing.T) {
	t.Parallel()
	for name, entry := range map[string]*tar.Header{
		"a file outside of the folder":    {Typeflag: tar.TypeReg, Name: "../outside", Mode: 0o644},
		"a folder outside of the folder":  {Typeflag: tar.TypeDir, Name: "a/../../outside", Mode: 0o755},
		"a link":                          {Typeflag: tar.TypeSymlink, Name: "outside", Linkname: "/etc"},
		"a device":                        {Typeflag: tar.TypeChar, Name: "null", Mode: 0o666},
		"a file with another one's place": {Typeflag: tar.TypeReg, Name: "./program", Mode: 0o755},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLayout(t)
			archive, err := Read(l.write(l.image("amd64", &tar.Header{Typeflag: tar.TypeReg, Name: "program", Mode: 0o755}, entry)))
			if err != nil {
				t.Fatal(err)
			}
			parent := t.TempDir()
			folder := filepath.Join(parent, "root")
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := archive.Extract(archive.Images[0], folder); err == nil || !strings.Contains(err.Error(), entry.Name) {
				t.Errorf("error %v, want one about %q", err, entry.Name)
			}
			if diff := cmp.Diff(map[string]string{"root": "drwx------", "root/program": "-rwxr-xr-x"}, modes(t, parent)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
