//go:build unix

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is a running component. It is in a process group of its own, so that
// Ctrl-C in a terminal reaches only the lab's process, and it ends when that
// process does, because nobody else holds the other end of its standard input.
type process struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	exited  chan struct{} // closed once the process is gone and reaped
}

// startProcess runs a program with its output in a log file. The process outlives
// ctx: a lab's life is not that of the call which started it.
func startProcess(ctx context.Context, dir, logPath, program string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	defer func() { _ = log.Close() }()
	command := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	command.Dir = dir
	// Nothing of the user's environment: a proxy or a KUBECONFIG would change what is tested.
	command.Env = []string{"HOME=" + dir, "TMPDIR=" + dir}
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("creating pipe: %w", err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %q: %w", program, err)
	}
	p := &process{command: command, stdin: stdin, exited: make(chan struct{})}
	go func() {
		_ = command.Wait() // how it ended is in its log
		close(p.exited)
	}()
	return p, nil
}

func (p *process) pid() int { return p.command.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// stop asks the process to end, and kills it when it has not after the grace; with
// no grace it kills at once. It returns when the process is gone.
func (p *process) stop(grace time.Duration) error {
	defer func() { _ = p.stdin.Close() }()
	if grace > 0 {
		if err := p.signal(syscall.SIGTERM); err != nil {
			return err
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.exited:
			return nil
		case <-timer.C:
		}
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.exited
	return nil
}

func (p *process) pause() error  { return p.signal(syscall.SIGSTOP) }
func (p *process) resume() error { return p.signal(syscall.SIGCONT) }

// signal reaches this process and never another one: its id stays taken until
// Wait has reaped it, and os.Process knows when that has happened.
func (p *process) signal(s os.Signal) error {
	if err := p.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %q to process %d: %w", s, p.pid(), err)
	}
	return nil
}

// lockFile takes an exclusive lock that ends with the process at the latest, and
// calls waiting once if another process holds it. The file stays: removing it
// would let a third process lock a name that a second one still waits for.
func lockFile(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock: %w", err)
	}
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for told := false; ; told = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("locking %q: %w", path, err)
		}
		if !told {
			waiting()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("waiting for lock %q: %w", path, context.Cause(ctx))
		}
	}
}
