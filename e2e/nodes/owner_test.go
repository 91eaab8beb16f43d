//go:build linux && e2e_nodes

package nodes_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestNothingStaysWhenTheTestsAreKilled(t *testing.T) {
	tests := map[string]func(pid int) error{
		"By SIGKILL":                      func(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) },
		"By Ctrl-C, which hits its group": func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) },
	}
	for name, kill := range tests {
		t.Run(name, func(t *testing.T) {
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
			groups := func() []string {
				found, err := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(h.Dir))
				must(t, err)
				unified, err := filepath.Glob("/sys/fs/cgroup/" + filepath.Base(h.Dir))
				must(t, err)
				return append(found, unified...)
			}
			if _, err := os.Stat(h.Dir); err != nil || len(h.PIDs) < 5 || len(groups()) == 0 {
				t.Fatalf("the helper's cluster: %+v, %v, control groups %q, want a folder, processes and groups", h, err, groups())
			}
			must(t, kill(owner.Process.Pid))
			if err := owner.Wait(); err == nil {
				t.Error("the helper ended by itself")
			}
			for _, pid := range h.PIDs {
				await(t, fmt.Sprintf("process %d to end", pid), 30*time.Second, func() bool { return !alive(t, pid) })
			}
			await(t, "the state folder to vanish", 30*time.Second, func() bool {
				_, err := os.Stat(h.Dir)
				return errors.Is(err, os.ErrNotExist)
			})
			await(t, "the control groups to vanish", 30*time.Second, func() bool { return len(groups()) == 0 })
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			must(t, err)
			if strings.Contains(string(mounts), h.Dir) {
				t.Errorf("a mount of %s stayed:\n%s", h.Dir, mounts)
			}
		})
	}
}

// alive says whether a process runs. Where nobody reaps orphans, as in a container
// without an init, an ended one stays as a zombie, and that is none.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	must(t, err)
	return !strings.HasPrefix(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " Z")
}
