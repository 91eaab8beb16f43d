package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const aDescription = `{"name": "example.org/ship", "version": "v1.2.3", "created": "2001-02-03T04:05:06Z",
	"platforms": {"linux/arm64": "sha256:0123"}}`

// built returns a folder like that of a built image, with a Go program, which is this
// test, and a text.
func built(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, content := range map[string][]byte{
		"image.json": []byte(aDescription), "linux-arm64/program": program, "linux-arm64/etc/text": []byte("text"),
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// bill writes the bill of the image in a folder, and returns it and its text.
func bill(t *testing.T, folder string) (cdx.BOM, string) {
	t.Helper()
	var complaint bytes.Buffer
	to := t.TempDir()
	if err := run([]string{"-image", folder, "-to", to}, io.Discard, &complaint); err != nil {
		t.Fatalf("%v: %s", err, complaint.String())
	}
	text, err := os.ReadFile(filepath.Join(to, "linux-arm64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var b cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&b); err != nil {
		t.Fatal(err)
	}
	return b, string(text)
}

func find(t *testing.T, b cdx.BOM, ref string) cdx.Component {
	t.Helper()
	at := slices.IndexFunc(*b.Components, func(c cdx.Component) bool { return c.BOMRef == ref })
	if at < 0 {
		t.Fatalf("there is no %s", ref)
	}
	return (*b.Components)[at]
}

func TestTheBillListsWhatAProgramWasLinkedWithAndNothingElse(t *testing.T) {
	t.Parallel()
	b, _ := bill(t, built(t))
	self, ok := debug.ReadBuildInfo()
	if !ok || len(self.Deps) == 0 {
		t.Fatal("this test does not know what it was linked with")
	}
	want := []string{"pkg:golang/std@" + strings.TrimPrefix(self.GoVersion, "go")}
	for _, module := range self.Deps {
		want = append(want, packageURL(module.Path, module.Version))
	}
	slices.Sort(want)
	at := slices.IndexFunc(*b.Dependencies, func(d cdx.Dependency) bool { return d.Ref == "/program" })
	if at < 0 || !slices.Equal(*(*b.Dependencies)[at].Dependencies, want) {
		t.Errorf("dependencies %v, want those of the program: %q", b.Dependencies, want)
	}
	for _, module := range self.Deps {
		library := find(t, b, packageURL(module.Path, module.Version))
		if library.Name != module.Path || library.Version != module.Version || (*library.Properties)[0].Value != module.Sum {
			t.Errorf("%+v, want %+v", library, module)
		}
	}
	if files := 2; len(*b.Components) != files+len(want) {
		t.Errorf("%d components, want %d files and %d libraries", len(*b.Components), files, len(want))
	}
}

func TestTheBillNamesTheImageAndItsFiles(t *testing.T) {
	t.Parallel()
	b, _ := bill(t, built(t))
	want := cdx.Component{
		BOMRef: "image", Type: cdx.ComponentTypeContainer, Name: "example.org/ship", Version: "v1.2.3",
		PackageURL: "pkg:oci/ship@sha256%3A0123?arch=arm64&repository_url=example.org/ship",
	}
	if image := *b.Metadata.Component; image != want {
		t.Errorf("it is of %+v, want %+v", image, want)
	}
	if b.Metadata.Timestamp != "2001-02-03T04:05:06Z" {
		t.Errorf("it is of %s", b.Metadata.Timestamp)
	}
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(b.SerialNumber) {
		t.Errorf("its number is %q", b.SerialNumber)
	}
	text, sum := find(t, b, "/etc/text"), sha256.Sum256([]byte("text"))
	if text.Type != cdx.ComponentTypeFile || (*text.Hashes)[0].Value != hex.EncodeToString(sum[:]) {
		t.Errorf("the text is %+v", text)
	}
	if program := find(t, b, "/program"); program.Type != cdx.ComponentTypeApplication || program.Version != "v1.2.3" {
		t.Errorf("the program is %+v", program)
	}
}

func TestTheSameImageGivesTheSameBillAndAnotherOneAnother(t *testing.T) {
	t.Parallel()
	folder := built(t)
	first, text := bill(t, folder)
	if _, again := bill(t, folder); again != text {
		t.Error("two bills of the same image differ")
	}
	if err := os.WriteFile(filepath.Join(folder, "linux-arm64", "etc", "text"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if other, _ := bill(t, folder); other.SerialNumber == first.SerialNumber {
		t.Error("another file, and the same number")
	}
}

func TestAModuleIsNamedAsDatabasesNameIt(t *testing.T) {
	t.Parallel()
	program := &debug.BuildInfo{GoVersion: "go1.2.3", Deps: []*debug.Module{
		{Path: "example.org/old", Version: "v2.0.0+incompatible", Sum: "h1:1"},
		{Path: "example.org/fork", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/own", Version: "v1.0.1", Sum: "h1:2"}},
	}}
	var names []string
	for _, library := range libraries(program) {
		names = append(names, library.PackageURL)
	}
	want := []string{"pkg:golang/std@1.2.3", "pkg:golang/example.org/old@v2.0.0%2Bincompatible", "pkg:golang/example.org/own@v1.0.1"}
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

func TestABillOfNothingIsRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(folder string) error{
		"nothing was built": os.RemoveAll,
		"a description of nothing": func(folder string) error {
			return os.WriteFile(filepath.Join(folder, "image.json"), []byte(`{"name": "ship"}`), 0o600)
		},
		"no files": func(folder string) error { return os.RemoveAll(filepath.Join(folder, "linux-arm64")) },
		"an empty folder": func(folder string) error {
			return errors.Join(os.RemoveAll(filepath.Join(folder, "linux-arm64")), os.Mkdir(filepath.Join(folder, "linux-arm64"), 0o700))
		},
		"a link, of which nobody knows what it is": func(folder string) error {
			return os.Symlink("/etc", filepath.Join(folder, "linux-arm64", "link"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder, to := built(t), t.TempDir()
			if err := spoil(folder); err != nil {
				t.Fatal(err)
			}
			if err := run([]string{"-image", folder, "-to", to}, io.Discard, io.Discard); err == nil {
				t.Error("it was not refused")
			}
			if entries, err := os.ReadDir(to); err != nil || len(entries) > 0 {
				t.Errorf("it wrote %v, %v", entries, err)
			}
		})
	}
}
