package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	productModule    = "github.com/ebbtide/ebbtide"
	kubernetesModule = "k8s.io/kubernetes"
)

// Binary returns the path of the control-plane binary of a Kubernetes version
// ("1.37.1"), and builds it first when the user's cache folder does not hold it:
// some minutes with a cold Go build cache, half a minute with a warm one.
//
// An empty version means the one in the environment variable KUBE_VERSION, or else
// the one that e2e/kube/go.mod requires; a leading "v" is accepted. The go command
// must be on the PATH and the working folder inside the product's module, as it is
// in every test. Two builds of one version wait for each other, across processes
// too. progress, which may be nil, gets a line every few seconds while something
// is built and nothing otherwise. The build ends with ctx.
func Binary(ctx context.Context, version string, progress io.Writer) (string, error) {
	return binary(ctx, controlPlaneProgram, version, progress)
}

// NodeBinary is [Binary] for the program of a real node: kubelet and kube-proxy. It
// builds on Linux only.
func NodeBinary(ctx context.Context, version string, progress io.Writer) (string, error) {
	return binary(ctx, nodeProgram, version, progress)
}

// program is one of the two that e2e/kube holds.
type program struct {
	name   string // of the binary
	folder string // of package main, in the module
}

var (
	controlPlaneProgram = program{name: "ebbtide-lab-kube", folder: "."}
	nodeProgram         = program{name: "ebbtide-lab-node", folder: "node"}
)

func binary(ctx context.Context, wanted program, version string, progress io.Writer) (string, error) {
	if progress == nil {
		progress = io.Discard
	}
	source, err := kubeSource(ctx, wanted)
	if err != nil {
		return "", err
	}
	version = chosenVersion(version, source.pinned)
	cached, err := source.cachePath(version)
	if err != nil {
		return "", err
	}
	if exists(cached) {
		return cached, nil
	}
	if err := os.MkdirAll(filepath.Dir(cached), 0o750); err != nil {
		return "", fmt.Errorf("creating cache folder: %w", err)
	}
	unlock, err := lockFile(ctx, cached+".lock", func() {
		_, _ = fmt.Fprintf(progress, "lab: waiting for another process that builds Kubernetes %s\n", version)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(cached) { // the other process built it
		return cached, nil
	}
	if err := source.build(ctx, version, cached, progress); err != nil {
		return "", fmt.Errorf("building Kubernetes %q: %w", version, err)
	}
	return cached, nil
}

func chosenVersion(asked, pinned string) string {
	if asked == "" {
		//nolint:forbidigo // Every test binary starts a lab and none has a main of ours: this is the one place that all of them pass.
		asked = os.Getenv("KUBE_VERSION")
	}
	if asked == "" {
		asked = pinned
	}
	return strings.TrimPrefix(asked, "v")
}

// kubeModule is e2e/kube: the folder, which of its programs is wanted, and the
// Kubernetes version that its go.mod requires.
type kubeModule struct {
	dir     string
	program program
	pinned  string
}

// main is the path of the program's one source file, in the module.
func (m kubeModule) main() string { return filepath.Join(m.program.folder, "main.go") }

func kubeSource(ctx context.Context, wanted program) (kubeModule, error) {
	root, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", productModule)
	if err != nil {
		return kubeModule{}, fmt.Errorf("finding module %q: %w", productModule, err)
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "e2e", "kube")
	mod, err := readGoMod(ctx, filepath.Join(dir, "go.mod"))
	if err != nil {
		return kubeModule{}, err
	}
	for _, required := range mod.Require {
		if required.Path == kubernetesModule {
			return kubeModule{dir: dir, program: wanted, pinned: strings.TrimPrefix(required.Version, "v")}, nil
		}
	}
	return kubeModule{}, fmt.Errorf("finding %q in %q: %w", kubernetesModule, filepath.Join(dir, "go.mod"), fs.ErrNotExist)
}

// cachePath names the folder after everything that decides what the binary is, so
// that a change of main.go or of a flag builds anew instead of running the old one.
func (m kubeModule) cachePath(version string) (string, error) {
	sum := sha256.New()
	files := []string{m.main()}
	if version == m.pinned {
		files = append(files, "go.mod", "go.sum")
	}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(m.dir, file))
		if err != nil {
			return "", fmt.Errorf("reading module of Kubernetes: %w", err)
		}
		sum.Write(content)
	}
	_, _ = fmt.Fprint(sum, buildFlags(version))
	folder, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's cache folder: %w", err)
	}
	key := fmt.Sprintf("%s-%s-%s-%s", version, runtime.GOOS, runtime.GOARCH, hex.EncodeToString(sum.Sum(nil))[:8])
	return filepath.Join(folder, "ebbtide", "lab", key, m.program.name), nil
}

// goMod is the part of "go mod edit -json" that the lab needs.
type goMod struct {
	Require []struct{ Path, Version string }
	Replace []struct {
		Old struct{ Path string }
		New struct{ Path string }
	}
}

func readGoMod(ctx context.Context, path string) (goMod, error) {
	var mod goMod
	out, err := goCommand(ctx, "", "mod", "edit", "-json", path)
	if err != nil {
		return mod, fmt.Errorf("reading %q: %w", path, err)
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		return mod, fmt.Errorf("decoding %q: %w", path, err)
	}
	return mod, nil
}

// goCommand runs the go command in dir and returns what it printed.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	command := goTool(ctx, dir, args...)
	out, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return nil, fmt.Errorf("go %s: %w: %s", args[0], err, lastLine(exit.Stderr))
	}
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", args[0], err)
	}
	return out, nil
}

// goTool is a go command whose result does not depend on the user's workspace or
// flags, so that one cache entry means one binary.
func goTool(ctx context.Context, dir string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	command.Env = append(command.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	// An interrupted go command takes its compilers along; a killed one leaves them.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 10 * time.Second
	return command
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func lastLine(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return lines[len(lines)-1]
}
