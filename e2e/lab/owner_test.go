//go:build unix

package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// held is what the helper process says of its lab.
type held struct {
	Dir  string
	PIDs []int
}

// holdLab is the helper process: it owns a lab, one component of which is paused
// and so cannot see that its owner is gone.
func holdLab() {
	err := func() error {
		ctx := context.Background()
		l, err := lab.Start(ctx, lab.Options{})
		if err != nil {
			return err
		}
		h := held{Dir: l.Dir()}
		for _, c := range lab.Components() {
			h.PIDs = append(h.PIDs, l.PID(c))
		}
		if err := errors.Join(l.Pause(lab.APIServer), json.NewEncoder(os.Stdout).Encode(h)); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, os.Stdin) // until it is killed
		return errors.Join(err, l.Close())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestNothingStaysWhenTheOwnerIsKilled(t *testing.T) {
	t.Parallel()
	tests := map[string]func(pid int) error{
		"By SIGKILL":                      func(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) },
		"By Ctrl-C, which hits its group": func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) },
	}
	for name, kill := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			self, err := os.Executable()
			must(t, err)
			owner := exec.CommandContext(t.Context(), self, "-hold")
			owner.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a shell starts it
			owner.Stderr = os.Stderr
			stdin, err := owner.StdinPipe()
			must(t, err)
			defer func() { _ = stdin.Close() }()
			stdout, err := owner.StdoutPipe()
			must(t, err)
			must(t, owner.Start())
			var h held
			must(t, json.NewDecoder(stdout).Decode(&h))
			if _, err := os.Stat(h.Dir); err != nil || len(h.PIDs) != len(lab.Components()) {
				t.Fatalf("the helper's lab: %+v, %v, want a folder and a process for each component", h, err)
			}
			for _, pid := range h.PIDs {
				if !alive(t, pid) {
					t.Fatalf("process %d of the helper's lab does not run", pid)
				}
			}
			must(t, kill(owner.Process.Pid))
			if err := owner.Wait(); err == nil {
				t.Error("the helper ended by itself")
			}
			await(t, "the state folder to vanish", func() bool {
				_, err := os.Stat(h.Dir)
				return errors.Is(err, os.ErrNotExist)
			})
			for _, pid := range h.PIDs {
				await(t, fmt.Sprintf("process %d to end", pid), func() bool { return !alive(t, pid) })
			}
		})
	}
}

// alive says whether a process runs. Where nobody reaps orphans, as in a container
// without an init, an ended one stays as a zombie, and that is none.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) || !exists("/proc/self/stat") // no /proc, no zombies to tell apart
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// await asks until it is true; the operating system has no watch for these states.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited 30 s in vain for %s", what)
		}
	}
}
