package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec" //nolint:depguard // It starts go, and none of our programs.
	"path/filepath"
)

// toolchain makes an image that the Dockerfile can compile in from this machine's Go,
// and returns the arguments that use it. The image holds certificates; Go and its caches
// are mounted, since copying them would take longer than compiling.
func (b build) toolchain(ctx context.Context) ([]string, error) {
	environment, err := b.environment(ctx)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(b.dir, "toolchain")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, fmt.Errorf("creating folder: %w", err)
	}
	certificates, err := readCertificates(os.DirFS("/"))
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{
		"ca-certificates.crt": certificates,
		// Nothing is fetched in it: what is missing was fetched before.
		"Dockerfile": []byte("FROM scratch\nENV GOPROXY=off\nCOPY ca-certificates.crt /etc/ssl/certs/\nWORKDIR /tmp\n"),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil { //nolint:gosec // Nothing secret.
			return nil, fmt.Errorf("writing the toolchain's image: %w", err)
		}
	}
	const name = "localhost/toolchain"
	if err := b.buildah(ctx, "build", "--quiet", "--isolation", "chroot", "--tag", name, folder); err != nil {
		return nil, err
	}
	return []string{
		"--build-arg", "BUILDER=" + name, "--pull=never",
		"--volume", environment.GOROOT + ":/usr/local/go:ro",
		"--volume", environment.GOMODCACHE + ":/go/pkg/mod:ro",
		"--volume", environment.GOCACHE + ":/root/.cache/go-build",
	}, nil
}

// environment is where Go keeps things, in the words of "go env -json".
type environment struct{ GOROOT, GOMODCACHE, GOCACHE string }

// environment says where Go keeps things, after it has fetched the modules that the
// programs need.
func (b build) environment(ctx context.Context) (environment, error) {
	var found environment
	if _, err := b.goCommand(ctx, "list", "-deps", "./cmd/ebbtide-agent", "./cmd/ebbtide-placement"); err != nil {
		return found, err
	}
	said, err := b.goCommand(ctx, "env", "-json", "GOROOT", "GOMODCACHE", "GOCACHE")
	if err != nil {
		return found, err
	}
	if err := json.Unmarshal(said, &found); err != nil {
		return found, fmt.Errorf("reading what go env says: %w", err)
	}
	return found, nil
}

func (b build) goCommand(ctx context.Context, args ...string) ([]byte, error) {
	var said bytes.Buffer
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = b.Source
	command.Env = append(command.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOWORK=off")
	err := run(command, &said, b.Progress)
	return said.Bytes(), err
}

// certificatePaths are where Debian and its kin, Red Hat's, and SUSE keep all
// certificates of public CAs in one file.
var certificatePaths = []string{"etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem"}

// readCertificates reads the CAs that a machine trusts; root is its "/".
func readCertificates(root fs.FS) ([]byte, error) {
	for _, path := range certificatePaths {
		certificates, err := fs.ReadFile(root, path)
		if !errors.Is(err, fs.ErrNotExist) {
			return certificates, err
		}
	}
	return nil, fmt.Errorf("looking for certificates of public CAs: none in %q (Debian's package is ca-certificates)", certificatePaths)
}
