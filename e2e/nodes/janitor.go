//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// janitorScript removes the folder $1 and the control groups named $2 once its standard
// input has ended, that is once the tests' process closed it or died. The nodes end for
// the same reason at the same moment; the removal is repeated until nothing of them
// comes back. "find -delete" would stop at the files of a control group, which vanish
// with it.
const janitorScript = `
trap '' HUP INT TERM
read -r _
tries=0 absent=0
while [ $absent -lt 2 ] && [ $tries -lt 300 ]; do
  tries=$((tries + 1)) left=
  for group in /sys/fs/cgroup/"$2" /sys/fs/cgroup/*/"$2"; do
    if [ -d "$group" ]; then left=1; find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null; fi
  done
  if [ -e "$1" ]; then left=1; rm -rf --one-file-system "$1" 2>/dev/null; fi
  if [ -n "$left" ]; then absent=0; else absent=$((absent + 1)); fi
  [ $absent -lt 2 ] && sleep 0.1
done
`

// janitor is a process that outlives the tests' by a moment and cleans up. Its fields
// are what the program needs to find it again after it has replaced itself.
type janitor struct {
	PID    int
	FD     int // the descriptor of the pipe that it waits on
	Folder string

	pipe *os.File
}

func startJanitor(ctx context.Context, folder, group string) (janitor, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return janitor{}, fmt.Errorf("creating pipe: %w", err)
	}
	defer func() { _ = reader.Close() }()
	command := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", janitorScript, "ebbtide-nodes-janitor", folder, group)
	command.Dir = "/" // a process may not sit in the folder that it removes
	command.Stdin = reader
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	if err := command.Start(); err != nil {
		return janitor{}, errors.Join(fmt.Errorf("starting the janitor of %q: %w", folder, err), writer.Close())
	}
	j := janitor{PID: command.Process.Pid, FD: int(writer.Fd()), Folder: folder, pipe: writer}
	return j, command.Process.Release() // clean waits for it, maybe after this program has replaced itself
}

// keep lets the pipe stay open when this program replaces itself.
func (j *janitor) keep() error {
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(j.FD), syscall.F_SETFD, 0); errno != 0 {
		return fmt.Errorf("keeping the janitor's pipe open: %w", errno)
	}
	return nil
}

// take makes the pipe this program's own again, and no child's.
func (j *janitor) take() {
	syscall.CloseOnExec(j.FD)
	j.pipe = os.NewFile(uintptr(j.FD), "janitor")
}

// clean ends the guard and returns when the janitor has done its work.
func (j *janitor) clean() error {
	_ = j.pipe.Close()
	for {
		if _, err := syscall.Wait4(j.PID, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if _, err := os.Stat(j.Folder); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %q: it is still there", j.Folder)
	}
	return nil
}
