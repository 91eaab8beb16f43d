package agentrun

import (
	"strings"
	"testing"
)

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
	t.Cleanup(func() {
		if err := a.Kill(); err != nil {
			t.Error(err)
		}
		if strings.Contains(a.Output(), "WARNING: DATA RACE") {
			t.Error("the agent has a data race")
		}
		if t.Failed() {
			t.Logf("the agent on node %q wrote:\n%s", options.Node, a.Output())
		}
	})
	return a
}
