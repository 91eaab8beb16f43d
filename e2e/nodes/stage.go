//go:build linux

package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

const (
	// installVariable, if 1, lets Main install Debian packages.
	installVariable = "EBBTIDE_E2E_INSTALL"
	// stageVariable holds the stage when the process has moved to its own network.
	stageVariable = "EBBTIDE_E2E_STAGE"
)

// administrators are the folders of programs that root's PATH lacks after "su".
const administrators = ":/usr/local/sbin:/usr/sbin:/sbin"

// Runner is what [testing.M] is to a TestMain.
type Runner interface{ Run() int }

// stage is what Main has prepared for the tests: files, in a folder that vanishes with
// the process.
type stage struct {
	Dir     string
	Kube    string // the folder of the node binary
	Janitor janitor

	// clusters counts those of this process: each has new disks, and logs of its own.
	clusters int
}

// current is the stage of this process, nil before Main.
var current *stage

func (s *stage) path(elements ...string) string {
	return filepath.Join(append([]string{s.Dir}, elements...)...)
}

func (s *stage) programs() string  { return s.path("programs") }
func (s *stage) images() string    { return s.path("images") }
func (s *stage) temporary() string { return s.path("tmp") }

// group is the control group of all nodes; see createGroup.
func (s *stage) group() string { return filepath.Base(s.Dir) }

// Main runs a package's tests with all that [Start] needs, and exits with their code. It
// needs root. It installs what is missing if the environment variable EBBTIDE_E2E_INSTALL
// is 1 (see require), builds what is wanted and what every cluster needs, and moves the
// process into a network namespace of its own.
func Main(m Runner, wanted Preparation) {
	//nolint:forbidigo // A TestMain is this program's main, and this is all it has.
	encoded, path, mayInstall := os.Getenv(stageVariable), os.Getenv("PATH"), os.Getenv(installVariable) == "1"
	if encoded != "" {
		os.Exit(perform(m, encoded, os.Stderr))
	}
	path += administrators
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := setUp(ctx, path, mayInstall, wanted, os.Stderr)
	stop()
	_, _ = fmt.Fprintf(os.Stderr, "nodes: %v\n", err) // there is no way back without one
	os.Exit(1)
}

// setUp prepares the stage and starts this program once more on it, with the same
// process id. It returns only if that does not work out.
func setUp(ctx context.Context, path string, mayInstall bool, wanted Preparation, progress io.Writer) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("real nodes need root: namespaces, mounts and control groups are made")
	}
	if err := os.Setenv("PATH", path); err != nil {
		return fmt.Errorf("setting the PATH: %w", err)
	}
	if err := require(ctx, path, mayInstall, progress); err != nil {
		return err
	}
	loadModules(ctx)
	if err := sweep(os.TempDir(), progress); err != nil {
		return err
	}
	s := &stage{}
	if s.Dir, err = newFolder(); err != nil {
		return err
	}
	if s.Janitor, err = startJanitor(ctx, s.Dir, s.group()); err != nil {
		return errors.Join(err, os.RemoveAll(s.Dir))
	}
	defer func() { err = errors.Join(err, s.Janitor.clean()) }()
	if err := prepare(ctx, s, wanted, progress); err != nil {
		return err
	}
	return s.enter()
}

// enter replaces this program by itself in a new network namespace. A namespace is a
// thread's; exec ends all threads but the one that calls it, so that what was a
// thread's is then the whole process's.
func (s *stage) enter() error {
	encoded, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding stage: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	runtime.LockOSThread() // and never unlocked: no other goroutine may come here
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	if err := s.Janitor.keep(); err != nil {
		return err
	}
	// Temporary files too are the janitor's, those of the control plane among them.
	for name, value := range map[string]string{stageVariable: string(encoded), "TMPDIR": s.temporary()} {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %q: %w", name, err)
		}
	}
	if err := syscall.Exec(self, os.Args, os.Environ()); err != nil {
		return fmt.Errorf("starting this program again: %w", err)
	}
	return nil
}

// perform runs the tests on a stage that is set.
func perform(m Runner, encoded string, progress io.Writer) int {
	s := &stage{}
	err := json.Unmarshal([]byte(encoded), s)
	if err == nil {
		err = os.Unsetenv(stageVariable)
	}
	if err == nil {
		s.Janitor.take()
		err = ip(context.Background(), "link", "set", "lo", "up")
	}
	if err != nil {
		_, _ = fmt.Fprintf(progress, "nodes: setting the stage: %v\n", err)
		return 1
	}
	current = s
	code := m.Run()
	if err := s.Janitor.clean(); err != nil {
		_, _ = fmt.Fprintf(progress, "nodes: %v\n", err)
		code = max(code, 1)
	}
	return code
}

// ip runs a command of iproute2 in this process's network.
func ip(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %q: %w: %s", args, err, lastLine(out))
	}
	return nil
}
