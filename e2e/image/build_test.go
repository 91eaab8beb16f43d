package image

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func TestAMountBelowAFolderIsFound(t *testing.T) {
	t.Parallel()
	const mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" +
		"90 22 0:5 / /tmp/ebbtide-image-1/run/go rw,relatime shared:1 - ext4 /dev/sda1 rw\n" +
		`91 22 0:6 / /tmp/my\040builds/go rw - tmpfs tmpfs rw` + "\n"
	for folder, want := range map[string]string{
		"/tmp/ebbtide-image-1":        "/tmp/ebbtide-image-1/run/go",
		"/tmp/ebbtide-image-1/run/go": "/tmp/ebbtide-image-1/run/go",
		"/tmp/ebbtide-image-11":       "",
		"/tmp/ebbtide-image":          "",
		"/tmp/my builds":              "/tmp/my builds/go",
	} {
		if got := mountedBelow(folder, mounts); got != want {
			t.Errorf("in %q is mounted %q, want %q", folder, got, want)
		}
	}
}

func TestAFolderIsRemovedOnlyWithNothingMountedInIt(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "build")
	mounted := filepath.Join(folder, "storage")
	if err := os.MkdirAll(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := remove(folder, "90 22 0:5 / "+mounted+" rw - ext4 /dev/sda1 rw\n"); err == nil || !strings.Contains(err.Error(), mounted) {
		t.Errorf("with a mount: %v", err)
	}
	if _, err := os.Stat(mounted); err != nil {
		t.Fatal(err)
	}
	if err := remove(folder, "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestAnArchiveThatCannotHoldWhatIsAskedForIsNotBegun(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]Options{
		"two platforms in a Docker archive": {Format: Docker, Platforms: []string{"linux/amd64", "linux/arm64"}},
		"an unknown format":                 {Format: "zip"},
		"no format":                         {},
	} {
		options.Name, options.Archive = "example.org/ship:v1", filepath.Join(t.TempDir(), "image.tar")
		if err := Build(t.Context(), options); err == nil || !strings.Contains(err.Error(), options.Name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestCertificatesAreFoundWhereverADistributionKeepsThem(t *testing.T) {
	t.Parallel()
	for _, path := range certificatePaths {
		machine := fstest.MapFS{path: {Data: []byte("certificates")}}
		if certificates, err := readCertificates(machine); err != nil || string(certificates) != "certificates" {
			t.Errorf("%s: %q, %v", path, certificates, err)
		}
	}
	if _, err := readCertificates(fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), "ca-certificates") {
		t.Errorf("without certificates: %v", err)
	}
}

// The image is compiled by the Go that the module asks for, or by a newer patch of it.
func TestTheDockerfileCompilesWithTheGoOfTheModule(t *testing.T) {
	t.Parallel()
	minor := func(path, pattern string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(pattern).FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s names no Go", path)
		}
		return string(found[1])
	}
	wants, uses := minor("../../go.mod", `(?m)^go (1\.\d+)`), minor("../../Dockerfile", `(?m)^ARG BUILDER=.*/golang:(1\.\d+)\.\d+`)
	if uses != wants {
		t.Errorf("the Dockerfile compiles with Go %s, and go.mod wants %s", uses, wants)
	}
}
