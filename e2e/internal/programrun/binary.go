package programrun

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"
	"testing"
)

// Build builds the program of a package into dir and returns its path. With race it has
// Go's race detector, which needs a C compiler and makes memory figures worthless.
// The working folder has to be inside the module, as it is in every test.
func Build(ctx context.Context, dir, pkg string, race bool) (string, error) {
	program := filepath.Join(dir, path.Base(pkg))
	args := []string{"build", "-o", program}
	environment := os.Environ()
	if race {
		args = append(args, "-race")
	} else {
		environment = append(environment, "CGO_ENABLED=0") // as it is released
	}
	command := exec.CommandContext(ctx, "go", append(args, pkg)...)
	command.Env = environment
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %q: %w: %s", pkg, err, bytes.Join(bytes.Fields(output), []byte(" ")))
	}
	return program, nil
}

// suite holds the programs that the tests of this test binary have built.
var suite struct {
	sync.Mutex
	managed bool
	dir     string
	built   map[build]result
}

type build struct {
	pkg  string
	race bool
}

type result struct {
	program string
	err     error
}

// Suite wraps a package's tests so that what [Binary] built is removed after them.
func Suite(m interface{ Run() int }) interface{ Run() int } { return tests{m} }

type tests struct{ inner interface{ Run() int } }

// Run runs the tests and returns their exit code.
func (s tests) Run() int {
	suite.Lock()
	suite.managed = true
	suite.Unlock()
	code := s.inner.Run()
	suite.Lock()
	defer suite.Unlock()
	if suite.dir == "" {
		return code
	}
	if err := os.RemoveAll(suite.dir); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "programrun: removing %q: %v\n", suite.dir, err)
		return max(code, 1)
	}
	return code
}

// Binary returns the program of a package and builds it at the first call in a test
// binary. The package's TestMain has to use [Suite].
func Binary(t testing.TB, pkg string, race bool) string {
	t.Helper()
	suite.Lock()
	defer suite.Unlock()
	if !suite.managed {
		t.Fatal("programrun.Binary needs a TestMain with Suite, or nobody removes the program")
	}
	wanted := build{pkg, race}
	built, known := suite.built[wanted]
	if !known {
		// Not the test's context: the program outlives the test.
		built.program, built.err = buildForSuite(context.WithoutCancel(t.Context()), wanted)
		if suite.built == nil {
			suite.built = map[build]result{}
		}
		suite.built[wanted] = built
	}
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.program
}

func buildForSuite(ctx context.Context, wanted build) (string, error) {
	if suite.dir == "" {
		dir, err := os.MkdirTemp("", "ebbtide-programrun-*")
		if err != nil {
			return "", fmt.Errorf("creating a folder for programs: %w", err)
		}
		suite.dir = dir
	}
	dir := filepath.Join(suite.dir, fmt.Sprintf("race-%t", wanted.race))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("creating a folder for programs: %w", err)
	}
	return Build(ctx, dir, wanted.pkg, wanted.race)
}
