// Package settingstest holds what the tests of every program's configuration need.
package settingstest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Write writes a configuration file of that name, which goes with the test, and
// returns its path.
func Write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Leaves returns the paths of the fields of a file that was read into a tree, in order.
// Prefix is what each begins with.
func Leaves(prefix string, tree map[string]any) []string {
	var paths []string
	for name, value := range tree {
		if below, is := value.(map[string]any); is {
			paths = append(paths, Leaves(prefix+name+".", below)...)
		} else {
			paths = append(paths, prefix+name)
		}
	}
	slices.Sort(paths)
	return paths
}
