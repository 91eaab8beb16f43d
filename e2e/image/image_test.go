//go:build linux && e2e_image

package image

import (
	"bytes"
	"context"
	"crypto/x509"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec" //nolint:depguard // The programs only say their version, and ask nobody.
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// version is one that no build stamps by itself.
const version = "v0.0.0-of-the-image-test"

var (
	created = time.Date(2001, time.February, 3, 4, 5, 6, 0, time.UTC)
	// machines are the platforms, by what an ELF file calls them.
	machines = map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}
	programs = []string{"ebbtide-agent", "ebbtide-placement"}
)

// mostCompressed is what a node may have to pull, in bytes.
const mostCompressed = 25e6

// tree is the source without what was built from it, which can be large.
type tree struct{ fs.FS }

func (t tree) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(t.FS, name)
	return slices.DeleteFunc(entries, func(entry fs.DirEntry) bool {
		return name == "." && slices.Contains([]string{".git", "bin", "out"}, entry.Name())
	}), err
}

// source returns a copy of the source, so that nobody edits it between two builds that
// are compared.
func source(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, tree{os.DirFS("../..")}); err != nil {
		t.Fatal(err)
	}
	return folder
}

// buildImage builds the image as a release is built, but for where Go comes from.
func buildImage(t *testing.T, source string) Archive {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := Build(t.Context(), options(source, path, OCI, "linux/amd64", "linux/arm64")); err != nil {
		t.Fatal(err)
	}
	archive, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Images) != len(machines) {
		t.Fatalf("it is for %d platforms, want %d", len(archive.Images), len(machines))
	}
	return archive
}

func options(source, path string, format Format, platforms ...string) Options {
	return Options{
		Source: source, Name: "ebbtide.test/ebbtide:e2e", Version: version, Revision: "0123abc", Created: created,
		Platforms: platforms, Builder: LocalToolchain, Archive: path, Format: format, Progress: os.Stderr,
	}
}

func TestTheImageIsWhatIsPromised(t *testing.T) {
	repository := source(t)
	archive := buildImage(t, repository)
	for _, image := range archive.Images {
		folder := t.TempDir()
		// Extracted for a user who is nobody here.
		if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // It is nothing secret.
			t.Fatal(err)
		}
		if err := archive.Extract(image, folder); err != nil {
			t.Fatal(err)
		}
		t.Run(image.Platform, func(t *testing.T) {
			t.Logf("%.1f MB compressed", float64(image.Compressed)/1e6)
			if image.Compressed > mostCompressed {
				t.Errorf("a node pulls %d bytes, at most %.0f", image.Compressed, mostCompressed)
			}
			saysHowToRunIt(t, image.Config)
			holdsNothingElse(t, folder)
			trustsPublicCAs(t, folder)
			for _, program := range programs {
				runsOn(t, filepath.Join(folder, program), machines[image.Platform])
			}
			isWhatMakeBuilds(t, repository, folder, image.Config.Architecture)
			if image.Config.Architecture == runtime.GOARCH {
				saysItsVersion(t, folder, image.Config.Architecture)
			}
		})
	}
}

func saysHowToRunIt(t *testing.T, config Config) {
	t.Helper()
	if config.Config.User != "65532:65532" {
		t.Errorf("it runs as %q", config.Config.User)
	}
	if diff := cmp.Diff([]string{"/ebbtide-agent"}, config.Config.Entrypoint); diff != "" {
		t.Errorf("entrypoint: %s", diff)
	}
	if !config.Created.Equal(created) {
		t.Errorf("it was created at %s", config.Created)
	}
	for label, want := range map[string]string{"version": version, "revision": "0123abc", "licenses": "Apache-2.0"} {
		if got := config.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	for _, variable := range config.Config.Env {
		if !strings.HasPrefix(variable, "PATH=") {
			t.Errorf("it sets %s", variable)
		}
	}
}

// holdsNothingElse compares the image's files: no shell, no source, nothing that is writable.
func holdsNothingElse(t *testing.T, folder string) {
	t.Helper()
	want := map[string]string{
		"ebbtide-agent": "-rwxr-xr-x", "ebbtide-placement": "-rwxr-xr-x",
		"etc": "drwxr-xr-x", "etc/ssl": "drwxr-xr-x", "etc/ssl/certs": "drwxr-xr-x", "etc/ssl/certs/ca-certificates.crt": "-rw-r--r--",
	}
	if diff := cmp.Diff(want, modes(t, folder)); diff != "" {
		t.Errorf("files: %s", diff)
	}
}

func trustsPublicCAs(t *testing.T, folder string) {
	t.Helper()
	certificates, err := os.ReadFile(filepath.Join(folder, "etc", "ssl", "certs", "ca-certificates.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(certificates) {
		t.Error("there is no certificate in it")
	}
}

// runsOn checks that a program is for a machine, and needs no other file to run.
func runsOn(t *testing.T, program string, machine elf.Machine) {
	t.Helper()
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if file.Machine != machine {
		t.Errorf("%s is for %s, want %s", program, file.Machine, machine)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			t.Errorf("%s needs a dynamic linker", program)
		}
	}
}

// isWhatMakeBuilds compiles the programs outside of any image and compares the bytes, as
// whoever mistrusts an image can do.
func isWhatMakeBuilds(t *testing.T, repository, folder, architecture string) {
	t.Helper()
	bin := t.TempDir()
	command := exec.CommandContext(t.Context(), "make", "-C", repository, "build", "BIN="+bin, "VERSION="+version)
	command.Env = append(command.Environ(), "GOOS=linux", "GOARCH="+architecture, "GOFLAGS=-buildvcs=false")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, program := range programs {
		built, err := os.ReadFile(filepath.Join(bin, program))
		if err != nil {
			t.Fatal(err)
		}
		shipped, err := os.ReadFile(filepath.Join(folder, program))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1f MB", program, float64(len(shipped))/1e6)
		if !bytes.Equal(built, shipped) {
			t.Errorf("%s is not what make builds", program)
		}
	}
}

// saysItsVersion runs each program as a container would: by the image's user, with the
// image's files and no others.
func saysItsVersion(t *testing.T, folder, architecture string) {
	t.Helper()
	for _, program := range programs {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		command := exec.CommandContext(ctx, "/"+program, "--version")
		command.Dir, command.Env = "/", []string{}
		command.SysProcAttr = &syscall.SysProcAttr{Chroot: folder, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		output, err := command.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%s: %v: %s", program, err, output)
		}
		if want := fmt.Sprintf("%s (%s, linux/%s)", version, runtime.Version(), architecture); !strings.Contains(string(output), want) {
			t.Errorf("%s says %q, want %q", program, output, want)
		}
	}
}

func TestTheSameSourceGivesTheSameDigest(t *testing.T) {
	digests := func(archive Archive) map[string]string {
		found := map[string]string{"all platforms": archive.Digest}
		for _, image := range archive.Images {
			found[image.Platform] = image.Digest
		}
		return found
	}
	repository := source(t)
	if diff := cmp.Diff(digests(buildImage(t, repository)), digests(buildImage(t, repository))); diff != "" {
		t.Error(diff)
	}
}

func TestABuildLeavesNothingBehind(t *testing.T) {
	repository := source(t)
	t.Setenv("TMPDIR", t.TempDir())
	folder := t.TempDir()
	path := filepath.Join(folder, "image.tar")
	if err := Build(t.Context(), options(repository, path, Docker, "linux/"+runtime.GOARCH)); err != nil {
		t.Fatal(err)
	}
	broken := options(t.TempDir(), filepath.Join(folder, "broken.tar"), OCI, "linux/"+runtime.GOARCH)
	if err := Build(t.Context(), broken); err == nil {
		t.Error("an image was built from nothing")
	}
	for where, want := range map[string]int{folder: 1, os.TempDir(): 0} {
		entries, err := os.ReadDir(where)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != want {
			t.Errorf("%s holds %v, want %d entries", where, entries, want)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), "ebbtide-image-") {
		t.Errorf("left mounted: %s", mounts)
	}
}
