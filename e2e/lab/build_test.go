package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBinaryIsBuiltOnce(t *testing.T) {
	first, err := Binary(t.Context(), "", os.Stderr) // minutes, on a machine that has none
	if err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	second, err := Binary(t.Context(), "", &progress)
	if err != nil || second != first || progress.Len() > 0 {
		t.Errorf("second call: %q, %v, progress %q, want %q and no progress", second, err, &progress, first)
	}
	// Its input is at its end from the start, as if its lab were gone: the answer comes
	// all the same.
	wrong := exec.CommandContext(t.Context(), second, "no-such-component")
	out, err := wrong.CombinedOutput()
	if want := "unknown component \"no-such-component\"\n"; err == nil || string(out) != want || wrong.ProcessState.ExitCode() != 2 {
		t.Errorf("running the binary: %q, %v, want %q and exit code 2", out, err, want)
	}
}

func TestVersionIsTheAskedOneElseTheEnvironmentsElseThePinnedOne(t *testing.T) {
	tests := map[string]struct{ asked, environment, want string }{
		"The pinned one when nobody asks":    {want: "1.37.1"},
		"The environment's":                  {environment: "1.33.5", want: "1.33.5"},
		"The environment's with a v":         {environment: "v1.33.5", want: "1.33.5"},
		"The asked one before the others":    {asked: "1.34.3", environment: "1.33.5", want: "1.34.3"},
		"The asked one with a v, as in tags": {asked: "v1.34.3", want: "1.34.3"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBE_VERSION", test.environment)
			if got := chosenVersion(test.asked, "1.37.1"); got != test.want {
				t.Errorf("version = %q, want %q", got, test.want)
			}
		})
	}
}

func TestModuleOfAnotherVersionRepeatsTheStagingModules(t *testing.T) {
	t.Parallel()
	var upstream goMod
	upstream.Replace = make([]struct {
		Old struct{ Path string }
		New struct{ Path string }
	}, 3)
	for i, paths := range [][2]string{
		{"k8s.io/api", "./staging/src/k8s.io/api"},
		{"example.com/fork", "example.com/forked"},
		{"k8s.io/client-go", "./staging/src/k8s.io/client-go"},
	} {
		upstream.Replace[i].Old.Path, upstream.Replace[i].New.Path = paths[0], paths[1]
	}
	want := `module github.com/ebbtide/ebbtide/e2e/kube

go 1.26.0

require k8s.io/kubernetes v1.33.5

replace (
	k8s.io/api => k8s.io/api v0.33.5
	k8s.io/client-go => k8s.io/client-go v0.33.5
)
`
	if diff := cmp.Diff(want, requiring("1.33.5", upstream)); diff != "" {
		t.Errorf("go.mod differs (-want +got):\n%s", diff)
	}
}

// smallModule stands for e2e/kube: what build does with it does not depend on its size.
func smallModule(t *testing.T, program string) kubeModule {
	t.Helper()
	m := kubeModule{dir: t.TempDir(), program: controlPlaneProgram, pinned: "1.37.1"}
	for name, content := range map[string]string{"go.mod": "module small\n\ngo 1.26.0\n", "go.sum": "", "main.go": program} {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestBuildLeavesAWholeBinaryOrNone(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx     context.Context //nolint:containedctx // A case of the table.
		program string
		want    string // of the error
	}{
		"A good program":        {ctx: t.Context(), program: "package main\n\nfunc main() {}\n"},
		"A program with a flaw": {ctx: t.Context(), program: "package main\n\nfunc main() { missing() }\n", want: "undefined: missing"},
		"A cancelled build":     {ctx: cancelled, program: "package main\n\nfunc main() {}\n", want: "context canceled"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := filepath.Join(t.TempDir(), "program")
			err := smallModule(t, test.program).build(test.ctx, "1.37.1", target, &bytes.Buffer{})
			if test.want == "" {
				if err != nil || !exists(target) {
					t.Fatalf("build: %v, binary exists: %t, want a binary", err, exists(target))
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("build: %v, want one line with %q", err, test.want)
			}
			if exists(target) {
				t.Error("an unfinished build left a binary")
			}
		})
	}
}

func TestCachePathFollowsWhatTheBinaryIsMadeOf(t *testing.T) {
	t.Parallel()
	path := func(m kubeModule, version string) string {
		p, err := m.cachePath(version)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	m := smallModule(t, "package main\n\nfunc main() {}\n")
	before, other := path(m, "1.37.1"), path(m, "1.33.5")
	if before == other {
		t.Errorf("two versions share %q", before)
	}
	if again := path(m, "1.37.1"); again != before {
		t.Errorf("path = %q, then %q, want the same", before, again)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "go.sum"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if path(m, "1.37.1") == before {
		t.Error("a change of go.sum keeps the pinned version's binary")
	}
	if path(m, "1.33.5") != other {
		t.Error("a change of go.sum, which another version does not use, builds that version anew")
	}
}

func TestLockIsHeldByOneAtATime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	none := func() { t.Error("a free lock made its first taker wait") }
	unlock, err := lockFile(t.Context(), path, none)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lockFile(short, path, func() {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("locking what is locked: %v, want that the deadline has passed", err)
	}
	waits, got := make(chan struct{}), make(chan error)
	go func() {
		unlock, err := lockFile(t.Context(), path, func() { close(waits) })
		if err == nil {
			unlock()
		}
		got <- err
	}()
	<-waits
	unlock()
	if err := <-got; err != nil {
		t.Errorf("locking after the other has unlocked: %v", err)
	}
}

func TestBuildLogCountsPackagesAndKeepsMessages(t *testing.T) {
	t.Parallel()
	var progress bytes.Buffer
	log := newBuildLog("lab: building", 3, &progress)
	for _, part := range []string{"k8s.io/api/co", "re/v1\nk8s.io/client-go\n", "# example.com/bad\n./main.go:3:15: undefined: x\n"} {
		if _, err := log.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	log.report()
	if want := "2 of at most 3 packages compiled"; !strings.Contains(progress.String(), want) {
		t.Errorf("progress = %q, want %q", &progress, want)
	}
	if got, want := log.tail(), "# example.com/bad | ./main.go:3:15: undefined: x"; got != want {
		t.Errorf("tail = %q, want %q", got, want)
	}
}
