package agentrun

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const agentPackage = "github.com/ebbtide/ebbtide/cmd/ebbtide-agent"

// Build builds the agent into dir and returns the program's path. With race it has
// Go's race detector, which needs a C compiler and makes memory figures worthless.
// The working folder has to be inside the module, as it is in every test.
func Build(ctx context.Context, dir string, race bool) (string, error) {
	return build(ctx, dir, agentPackage, race)
}

func build(ctx context.Context, dir, pkg string, race bool) (string, error) {
	program := filepath.Join(dir, "ebbtide-agent")
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
	built   map[bool]result // by race
}

type result struct {
	program string
	err     error
}

// Suite wraps a package's tests so that what [Binary] built is removed after them:
//
//	func TestMain(m *testing.M) { lab.Main(agentrun.Suite(m)) }
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
		_, _ = fmt.Fprintf(os.Stderr, "agentrun: removing %q: %v\n", suite.dir, err)
		return max(code, 1)
	}
	return code
}

// Binary returns the agent's program and builds it at the first call in a test
// binary. With [Race] it has the race detector if the test has. The package's
// TestMain has to use [Suite].
func Binary(t testing.TB, race bool) string {
	t.Helper()
	suite.Lock()
	defer suite.Unlock()
	if !suite.managed {
		t.Fatal("agentrun.Binary needs a TestMain with agentrun.Suite, or nobody removes the program")
	}
	built, known := suite.built[race]
	if !known {
		// Not the test's context: the program outlives the test.
		built.program, built.err = buildForSuite(context.WithoutCancel(t.Context()), race)
		if suite.built == nil {
			suite.built = map[bool]result{}
		}
		suite.built[race] = built
	}
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.program
}

func buildForSuite(ctx context.Context, race bool) (string, error) {
	if suite.dir == "" {
		dir, err := os.MkdirTemp("", "ebbtide-agentrun-*")
		if err != nil {
			return "", fmt.Errorf("creating a folder for the agent: %w", err)
		}
		suite.dir = dir
	}
	dir := filepath.Join(suite.dir, fmt.Sprintf("race-%t", race))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("creating a folder for the agent: %w", err)
	}
	return Build(ctx, dir, race)
}
