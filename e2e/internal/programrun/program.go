package programrun

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

	"go.yaml.in/yaml/v3"
)

// listening is a program's first log line. It carries the address that the system
// chose for metrics and health.
const listening = "Listening"

// Options say which program to run. All but Args are required.
type Options struct {
	// Name is what errors call the program: "agent".
	Name string
	// Binary is the program; see [Build] and [Binary].
	Binary string
	// Dir is an existing folder for the program's files. The caller removes it.
	Dir string
	// Config is written to a file, for --config: programs that follow one another do
	// not share it.
	Config map[string]any
	// Args are the flags beside it. They have to let the system choose the port of
	// metrics and health.
	Args []string
}

// Program is a running program, or one that has ended. Its methods may be called from
// several goroutines.
type Program struct {
	name    string
	command *exec.Cmd
	client  *http.Client
	address string
	log     *recorder
	exited  chan struct{} // closed once the process is gone, reaped and read to its end
}

// Start starts a program and returns when it listens, which is before it is ready for
// anything; see [Program.Ready]. ctx bounds the start only. The caller ends the program
// with Kill or with Terminate and Wait.
func Start(ctx context.Context, options Options) (*Program, error) {
	for name, value := range map[string]string{"Binary": options.Binary, "Dir": options.Dir} {
		if value == "" {
			return nil, fmt.Errorf("checking options: %s is empty", name)
		}
	}
	config, err := options.writeConfig()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(context.WithoutCancel(ctx), options.Binary, append([]string{"--config", config}, options.Args...)...)
	command.Dir = options.Dir
	command.Env = []string{"HOME=" + options.Dir, "TMPDIR=" + options.Dir}
	command.SysProcAttr = processAttributes()
	p := &Program{
		name:    options.Name,
		command: command,
		// No connection outlives its request, so that nothing is left of the client.
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
		log:    newRecorder(),
		exited: make(chan struct{}),
	}
	command.Stdout, command.Stderr = p.log, p.log
	if err := p.launch(); err != nil {
		return nil, fmt.Errorf("starting %s %q: %w", p.name, options.Binary, err)
	}
	record, err := p.WaitLog(ctx, listening)
	if err == nil {
		err = record.Decode("address", &p.address)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s %q: %w", p.name, options.Binary, err), p.Kill())
	}
	return p, nil
}

// writeConfig writes the configuration into a new file in o.Dir.
func (o Options) writeConfig() (path string, err error) {
	content, err := yaml.Marshal(o.Config)
	if err != nil {
		return "", fmt.Errorf("encoding configuration: %w", err)
	}
	file, err := os.CreateTemp(o.Dir, o.Name+"-*.yaml")
	if err != nil {
		return "", fmt.Errorf("creating configuration: %w", err)
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Close()); err != nil {
		return "", fmt.Errorf("writing %q: %w", file.Name(), err)
	}
	return file.Name(), nil
}

// launch starts the process from a thread that lives as long as the process does:
// Linux sends the signal of a parent's death when the thread that forked is gone.
func (p *Program) launch() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		started <- err
		if err != nil {
			return
		}
		_ = p.command.Wait() // How it ended is asked for by Wait.
		p.log.end()
		close(p.exited)
	}()
	return <-started
}

// PID returns the process id.
func (p *Program) PID() int { return p.command.Process.Pid }

// Address returns the host and port of metrics and health.
func (p *Program) Address() string { return p.address }

// Kill ends the program with SIGKILL, as a crash or the kernel's memory killer does,
// and returns when it is gone. A program that has ended is left alone.
func (p *Program) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.exited
	return nil
}

// Terminate asks the program to end, with SIGTERM as a kubelet does, and does not wait.
func (p *Program) Terminate() error { return p.signal(syscall.SIGTERM) }

// Pause stops the program's clock (SIGSTOP): its connections stay open and nobody
// answers on them, as with a machine that hangs. It may answer for a moment more. Kill
// ends a paused program, too.
func (p *Program) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets a paused program go on (SIGCONT).
func (p *Program) Resume() error { return p.signal(syscall.SIGCONT) }

// signal reaches this process and never another one: its id stays taken until Wait
// has reaped it, and os.Process knows when that has happened.
func (p *Program) signal(s os.Signal) error {
	if err := p.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %q to %s %d: %w", s, p.name, p.PID(), err)
	}
	return nil
}

// Exited is closed when the program is gone and everything it said is in its log.
func (p *Program) Exited() <-chan struct{} { return p.exited }

// Wait returns the program's exit code once it has ended: -1 if a signal ended it. The
// error is that of ctx, when that ends first.
func (p *Program) Wait(ctx context.Context) (exitCode int, err error) {
	select {
	case <-p.exited:
		return p.command.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for %s %d to end: %w", p.name, p.PID(), context.Cause(ctx))
	}
}
