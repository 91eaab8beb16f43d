//go:build linux && e2e_nodes

package nodes_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// figuresFile has a line of JSON for each figure that a run has seen. Nothing removes
// the lines of older runs: each says its run by its test's name and its place.
var figuresFile = filepath.Join("..", "..", "out", "e2e", "figures.jsonl")

// figure records what was promised and what was seen, and fails the test where the two
// do not go together.
func figure(t *testing.T, name, bound, seen string, holds bool) {
	t.Helper()
	t.Logf("| %-46s | %-28s | %s", name, bound, seen)
	if !holds {
		t.Errorf("%s: %s, want %s", name, seen, bound)
	}
	line, err := json.Marshal(map[string]any{"test": t.Name(), "figure": name, "bound": bound, "seen": seen, "holds": holds})
	must(t, err)
	must(t, os.MkdirAll(filepath.Dir(figuresFile), 0o750))
	file, err := os.OpenFile(figuresFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	_, err = file.Write(append(line, '\n'))
	must(t, err)
	must(t, file.Close())
}
