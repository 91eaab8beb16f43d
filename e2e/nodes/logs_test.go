//go:build linux

package nodes

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLinesOfAContainersLog(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 20, 15, 1, 123456789, time.UTC)
	const stamp = "2026-11-22T20:15:01.123456789Z"
	tests := map[string]struct {
		content string
		want    []Line
		wrong   bool
	}{
		"An empty log":               {"", nil, false},
		"A line with blanks":         {stamp + " stdout F a b  c\n", []Line{{at, "stdout", "a b  c"}}, false},
		"An empty line":              {stamp + " stderr F \n", []Line{{at, "stderr", ""}}, false},
		"A line in parts":            {stamp + " stdout P ab\n" + stamp + " stdout F cd\n", []Line{{at, "stdout", "abcd"}}, false},
		"A line that is being added": {stamp + " stdout F a\n" + stamp + " stdo", []Line{{at, "stdout", "a"}}, false},
		"Not a container runtime's":  {"hello\n", nil, true},
		"A time that is none":        {"now stdout F a\n", nil, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseLines(test.content)
			if diff := cmp.Diff(test.want, got); diff != "" || (err != nil) != test.wrong {
				t.Errorf("error %v, lines (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestALogIsKeptWhenItsPodIsRemoved(t *testing.T) {
	t.Parallel()
	k := &keeper{from: t.TempDir(), to: filepath.Join(t.TempDir(), "logs"), end: make(chan struct{}), ended: make(chan struct{})}
	pod := filepath.Join(k.from, "default_web-0_1b4e")
	log := filepath.Join(pod, "main", "0.log")
	lay(t, "/", 0o600, log)
	if err := k.keep(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("2026-11-22T20:15:01Z stdout F later\n"); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(pod); err != nil {
		t.Fatal(err)
	}
	go k.run()
	if err := k.stop(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(k.to, "default_web-0_1b4e", "main", "0.log"))
	if want := "x2026-11-22T20:15:01Z stdout F later\n"; err != nil || string(content) != want {
		t.Errorf("kept %q, %v, want %q", content, err, want)
	}
}

func TestALogSaysWhoseItIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "default_web-0_1b4e", "main", "2.log")
	lay(t, "/", 0o600, path)
	if err := os.WriteFile(path, []byte("2026-11-22T20:15:01Z stdout F hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readLog("spot-1", path)
	if err != nil {
		t.Fatal(err)
	}
	want := Log{
		Node: "spot-1", Namespace: "default", Pod: "web-0", UID: "1b4e", Container: "main", Attempt: 2,
		Lines: []Line{{At: time.Date(2026, 11, 22, 20, 15, 1, 0, time.UTC), Stream: "stdout", Text: "hello"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}
