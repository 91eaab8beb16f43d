package programrun

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAProgramDiesWithItsStarter(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	starter := exec.CommandContext(t.Context(), self, asStarter)
	starter.Env = append(os.Environ(), "STAND_IN="+Binary(t, standIn, Race), "DIR="+t.TempDir())
	output, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = starter.Wait() // It was killed.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for alive(t, pid) {
		select {
		case <-ctx.Done():
			t.Fatalf("program %d outlives its starter", pid)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestMemoryIsThatOfTheProgram(t *testing.T) {
	t.Parallel()
	p := start(t)
	memory, err := p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	if memory.Resident < 1<<20 || memory.Anonymous <= 0 || memory.Anonymous > memory.Resident {
		t.Errorf("a Go program with %+v", memory)
	}
}

func TestARollupThatLacksALineIsAnError(t *testing.T) {
	t.Parallel()
	if memory, err := parseRollup([]byte("Rss:  100 kB\nPss_Anon: 3 kB\n")); err == nil {
		t.Errorf("read %+v", memory)
	}
	memory, err := parseRollup([]byte("5600-7ffd ---p 00 00:00 0 [rollup]\nRss:  100 kB\nAnonymous:  40 kB\n"))
	if want := (Memory{Resident: 100 << 10, Anonymous: 40 << 10}); err != nil || memory != want {
		t.Errorf("read %+v, %v; want %+v", memory, err, want)
	}
}

// alive says whether a process runs; one that has ended and that nobody has reaped
// does not.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}
