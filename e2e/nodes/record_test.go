//go:build linux

package nodes

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// deadProcess returns the id of a process that has ended.
func deadProcess(t *testing.T) int {
	t.Helper()
	command := exec.CommandContext(t.Context(), "true")
	if err := command.Run(); err != nil {
		t.Fatal(err)
	}
	return command.Process.Pid
}

func TestOnlyWhatNobodyOwnsIsSwept(t *testing.T) {
	t.Parallel()
	self, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		owner any // nil: none is recorded
		age   time.Duration
		swept bool
	}{
		"A run that goes on":                           {owner{os.Getpid(), self.started}, time.Hour, false},
		"A run whose process has ended":                {owner{deadProcess(t), self.started}, time.Hour, true},
		"A run whose process id is another's now":      {owner{os.Getpid(), "1"}, time.Hour, true},
		"A folder that is so new that its owner lacks": {nil, 0, false},
		"An old folder without an owner":               {nil, time.Hour, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			temporary := t.TempDir()
			folder := filepath.Join(temporary, "ebbtide-nodes-1")
			lay(t, folder, 0o600, "nodes/spot-1/root/var/log/kubelet.log")
			if test.owner != nil {
				content, err := json.Marshal(test.owner)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(folder, ownerFile), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			then := time.Now().Add(-test.age)
			if err := os.Chtimes(folder, then, then); err != nil {
				t.Fatal(err)
			}
			if err := sweep(temporary, os.Stderr); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) != test.swept {
				t.Errorf("the folder afterwards: %v, want swept: %t", err, test.swept)
			}
		})
	}
}

func TestAProcessIsReadWhateverItsName(t *testing.T) {
	t.Parallel()
	const rest = " S 17 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n"
	tests := map[string]struct {
		content string
		want    stat
		wrong   bool
	}{
		"A plain name":                     {"42 (kubelet)" + rest, stat{"kubelet", 17, "4711"}, false},
		"A name with blanks":               {"42 (tmux: server)" + rest, stat{"tmux: server", 17, "4711"}, false},
		"A name that looks like the end":   {"42 (a) R 1 (b)" + rest, stat{"a) R 1 (b", 17, "4711"}, false},
		"No name":                          {"42 kubelet" + rest, stat{}, true},
		"Fewer fields than the kernel has": {"42 (kubelet) S 17\n", stat{}, true},
		"A parent that is no number":       {"42 (kubelet) S x" + rest[5:], stat{}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseStat(test.content)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(stat{})); diff != "" || (err != nil) != test.wrong {
				t.Errorf("error %v, process (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestAProcessDescendsFromItsParentsParents(t *testing.T) {
	t.Parallel()
	all := map[int]stat{1: {parent: 0}, 10: {parent: 1}, 11: {parent: 10}, 12: {parent: 11}, 20: {parent: 1}, 30: {parent: 31}, 31: {parent: 30}}
	for pid, want := range map[int]bool{10: true, 11: true, 12: true, 1: false, 20: false, 30: false} {
		if got := descends(pid, 10, all); got != want {
			t.Errorf("%d descends from 10: %t, want %t", pid, got, want)
		}
	}
}
