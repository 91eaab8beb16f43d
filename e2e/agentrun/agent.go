package agentrun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// listening is the agent's first log line. It carries the address that the system
// chose for metrics and health.
const listening = "Listening"

// Agent is a running agent, or one that has ended. Its methods may be called from
// several goroutines.
type Agent struct {
	command *exec.Cmd
	client  *http.Client
	address string
	log     *recorder
	exited  chan struct{} // closed once the process is gone, reaped and read to its end
}

// Start starts an agent and returns when it listens, which is before it has seen its
// node or the metadata service; see [Agent.Ready]. ctx bounds the start only. The
// caller ends the agent with Kill or with Terminate and Wait.
func Start(ctx context.Context, options Options) (*Agent, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	config, err := options.writeConfig()
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"--config", config, "--node-name", options.Node, "--kubeconfig", options.Kubeconfig, "--listen", "127.0.0.1:0",
	}, options.Args...)
	command := exec.CommandContext(context.WithoutCancel(ctx), options.Binary, args...)
	command.Dir = options.Dir
	command.Env = []string{"HOME=" + options.Dir, "TMPDIR=" + options.Dir}
	command.SysProcAttr = processAttributes()
	a := &Agent{
		command: command,
		// No connection outlives its request, so that nothing is left of the client.
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
		log:    newRecorder(),
		exited: make(chan struct{}),
	}
	command.Stdout, command.Stderr = a.log, a.log
	if err := a.launch(); err != nil {
		return nil, fmt.Errorf("starting agent %q: %w", options.Binary, err)
	}
	record, err := a.WaitLog(ctx, listening)
	if err == nil {
		err = record.Decode("address", &a.address)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting agent %q: %w", options.Binary, err), a.Kill())
	}
	return a, nil
}

// launch starts the process from a thread that lives as long as the process does:
// Linux sends the signal of a parent's death when the thread that forked is gone.
func (a *Agent) launch() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := a.command.Start()
		started <- err
		if err != nil {
			return
		}
		_ = a.command.Wait() // How it ended is asked for by Wait.
		a.log.end()
		close(a.exited)
	}()
	return <-started
}

// PID returns the process id.
func (a *Agent) PID() int { return a.command.Process.Pid }

// Address returns the host and port of metrics and health.
func (a *Agent) Address() string { return a.address }

// Kill ends the agent with SIGKILL, as a crash or the kernel's memory killer does,
// and returns when it is gone. An agent that has ended is left alone.
func (a *Agent) Kill() error {
	if err := a.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-a.exited
	return nil
}

// Terminate asks the agent to end, with SIGTERM as a kubelet does, and does not wait.
func (a *Agent) Terminate() error { return a.signal(syscall.SIGTERM) }

// signal reaches this process and never another one: its id stays taken until Wait
// has reaped it, and os.Process knows when that has happened.
func (a *Agent) signal(s os.Signal) error {
	if err := a.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %q to agent %d: %w", s, a.PID(), err)
	}
	return nil
}

// Exited is closed when the agent is gone and everything it said is in its log.
func (a *Agent) Exited() <-chan struct{} { return a.exited }

// Wait returns the agent's exit code once it has ended: -1 if a signal ended it. The
// error is that of ctx, when that ends first.
func (a *Agent) Wait(ctx context.Context) (exitCode int, err error) {
	select {
	case <-a.exited:
		return a.command.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for agent %d to end: %w", a.PID(), context.Cause(ctx))
	}
}
