//go:build linux

package machine

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// readyWithin bounds a service's start, with a machine of two cores in mind on which
	// five nodes start at once.
	readyWithin = 2 * time.Minute
	// stopWithin is what a service has between SIGTERM and SIGKILL, as systemd would
	// give it, but shorter: a test waits for it.
	stopWithin = 10 * time.Second
)

// environment is all that a machine's programs know of the one they run on.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TMPDIR=/tmp"}

// supervisor starts programs and reaps every process of the namespace, its own and
// those that lost their parent, such as the shims of containerd.
type supervisor struct {
	services []Service

	mu      sync.Mutex
	running map[int]chan syscall.WaitStatus // of the processes that somebody waits for
	pids    map[string]int                  // of the services
}

func newSupervisor(services []Service) *supervisor {
	return &supervisor{services: services, running: map[int]chan syscall.WaitStatus{}, pids: map[string]int{}}
}

// reap waits for children for ever. It is the only one that does, as a wait for any child
// would take away the status that another waits for.
func (s *supervisor) reap() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	for ; ; <-signals {
		for s.reapOne() {
			continue
		}
	}
}

// reapOne holds the lock over the wait, so that a process which ends at once is known
// before its status is taken.
func (s *supervisor) reapOne() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	if errors.Is(err, syscall.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	maps.DeleteFunc(s.pids, func(_ string, service int) bool { return service == pid })
	if ended, waited := s.running[pid]; waited {
		delete(s.running, pid)
		ended <- status
	}
	return true
}

// start runs a program with its output in a file, as a service if it has a name. The
// channel gets its status.
func (s *supervisor) start(name string, args []string, output *os.File) (pid int, ended <-chan syscall.WaitStatus, err error) {
	program, err := exec.LookPath(args[0])
	if err != nil {
		return 0, nil, fmt.Errorf("starting %q: %w", args[0], err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	process, err := os.StartProcess(program, args, &os.ProcAttr{
		Dir: "/", Env: environment, Files: []*os.File{nil, output, output}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("starting %q: %w", args[0], err)
	}
	pid = process.Pid
	status := make(chan syscall.WaitStatus, 1)
	s.running[pid] = status
	if name != "" {
		s.pids[name] = pid
	}
	return pid, status, process.Release()
}

// run runs a command to its end.
func (s *supervisor) run(args []string) error {
	output, err := os.CreateTemp("/tmp", "command-*")
	if err != nil {
		return fmt.Errorf("running %q: %w", args, err)
	}
	defer func() { _, _ = output.Close(), os.Remove(output.Name()) }()
	_, ended, err := s.start("", args, output)
	if err != nil {
		return err
	}
	if status := <-ended; !status.Exited() || status.ExitStatus() != 0 {
		said, _ := os.ReadFile(output.Name()) // nothing said is nothing quoted
		return fmt.Errorf("running %q: status %d: %s", args, status.ExitStatus(), strings.TrimSpace(string(said)))
	}
	return nil
}

func (s *supervisor) startAll() error {
	for _, service := range s.services {
		if err := s.startService(service); err != nil {
			return err
		}
		for _, command := range service.Then {
			if err := s.run(command); err != nil {
				return fmt.Errorf("after %q: %w", service.Name, err)
			}
		}
	}
	return nil
}

func (s *supervisor) startService(service Service) error {
	log, err := os.OpenFile(filepath.Join("/var/log", service.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	defer func() { _ = log.Close() }()
	pid, ended, err := s.start(service.Name, service.Args, log)
	if err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		status := <-ended
		_, _ = fmt.Fprintf(os.Stderr, "service %s (process %d) ended: status %d, signal %d\n",
			service.Name, pid, status.ExitStatus(), status.Signal())
		close(gone)
	}()
	if service.Socket == "" {
		return nil
	}
	if err := awaitSocket(service.Socket, gone); err != nil {
		return fmt.Errorf("waiting for %q: %w", service.Name, err)
	}
	return nil
}

func awaitSocket(path string, gone <-chan struct{}) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(readyWithin)
	for {
		connection, err := net.DialTimeout("unix", path, time.Second) //nolint:noctx // Process 1 has no end but the machine's.
		if err == nil {
			return connection.Close()
		}
		select {
		case <-ticker.C:
		case <-gone:
			return errors.New("it has ended")
		case <-deadline:
			return fmt.Errorf("it does not listen after %s", readyWithin)
		}
	}
}

func (s *supervisor) kill(name string) error { return s.signal(name, syscall.SIGKILL) }

// restart is "systemctl restart". A service that has ended meanwhile is just started.
func (s *supervisor) restart(name string) error {
	at := slices.IndexFunc(s.services, func(service Service) bool { return service.Name == name })
	if at < 0 {
		return fmt.Errorf("service %q is not known", name)
	}
	if err := s.signal(name, syscall.SIGTERM); err != nil && !errors.Is(err, errNotRunning) {
		return err
	}
	if !s.awaitEnd(name, stopWithin) {
		if err := s.signal(name, syscall.SIGKILL); err != nil && !errors.Is(err, errNotRunning) {
			return err
		}
		if !s.awaitEnd(name, stopWithin) {
			return fmt.Errorf("ending service %q: it is still there", name)
		}
	}
	return s.startService(s.services[at])
}

var errNotRunning = errors.New("not running")

// signal holds the lock, under which no process is reaped: the id is still the service's.
func (s *supervisor) signal(name string, signal syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid := s.pids[name]
	if pid == 0 {
		return fmt.Errorf("ending service %q: %w", name, errNotRunning)
	}
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ending service %q: %w", name, err)
	}
	return nil
}

func (s *supervisor) awaitEnd(name string, limit time.Duration) bool {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(limit)
	for {
		s.mu.Lock()
		running := s.pids[name] != 0
		s.mu.Unlock()
		if !running {
			return true
		}
		select {
		case <-ticker.C:
		case <-deadline:
			return false
		}
	}
}
