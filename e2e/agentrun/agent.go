package agentrun

import (
	"context"
	"fmt"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/internal/programrun"
)

const agentPackage = "github.com/ebbtide/ebbtide/cmd/ebbtide-agent"

// Race says whether this program was built with the race detector.
const Race = programrun.Race

// Agent is a running agent, or one that has ended. Its methods may be called from
// several goroutines.
type Agent struct{ *programrun.Program }

// Record is one line of the agent's log.
type Record = programrun.Record

// Memory is how much memory an agent has, in bytes.
type Memory = programrun.Memory

// Checked is what became of an agent that was asked to check its configuration.
type Checked = programrun.Checked

// Start starts an agent and returns when it listens, which is before it has seen its
// node or the metadata service; see [programrun.Program.Ready]. ctx bounds the start
// only. The caller ends the agent with Kill or with Terminate and Wait.
func Start(ctx context.Context, options Options) (*Agent, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	config, err := options.config()
	if err != nil {
		return nil, err
	}
	args := append([]string{"--node-name", options.Node, "--kubeconfig", options.Kubeconfig, "--listen", "127.0.0.1:0"}, options.Args...)
	program, err := programrun.Start(ctx, programrun.Options{
		Name: "agent", Binary: options.Binary, Dir: options.Dir, Config: config, Args: args,
	})
	if err != nil {
		return nil, err
	}
	return &Agent{program}, nil
}

// New starts an agent for a test and kills it at the test's end, if it still runs
// then. Binary and Dir may be empty: the test's own build (see [Binary]) and a folder
// of the test's. A data race in the agent fails the test, and a test that fails shows
// what the agent wrote.
func New(t testing.TB, options Options) *Agent {
	t.Helper()
	if options.Binary == "" {
		options.Binary = Binary(t, Race)
	}
	if options.Dir == "" {
		options.Dir = t.TempDir()
	}
	a, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	programrun.Guard(t, a.Program, fmt.Sprintf("the agent on node %q", options.Node))
	return a
}

// Build builds the agent into dir and returns the program's path. With race it has
// Go's race detector, which needs a C compiler and makes memory figures worthless.
// The working folder has to be inside the module, as it is in every test.
func Build(ctx context.Context, dir string, race bool) (string, error) {
	return programrun.Build(ctx, dir, agentPackage, race)
}

// Suite wraps a package's tests so that what [Binary] built is removed after them:
//
//	func TestMain(m *testing.M) { lab.Main(agentrun.Suite(m)) }
func Suite(m interface{ Run() int }) interface{ Run() int } { return programrun.Suite(m) }

// Binary returns the agent's program and builds it at the first call in a test
// binary. With [Race] it has the race detector if the test has. The package's
// TestMain has to use [Suite].
func Binary(t testing.TB, race bool) string {
	t.Helper()
	return programrun.Binary(t, agentPackage, race)
}

// Check lets the agent's program read flags and file as it would at a start, and end.
// It starts no agent, so that args may say anything but that it should; env is the
// whole environment ("NODE_NAME=spot-1"). The error says why there is no exit code.
func Check(ctx context.Context, binary string, env []string, args ...string) (Checked, error) {
	return programrun.Check(ctx, binary, env, args...)
}
