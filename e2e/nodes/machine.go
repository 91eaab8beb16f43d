//go:build linux

package nodes

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/e2e/nodes/machine"
)

// Machine is a computer of the cluster's network. Its methods may be called from several
// goroutines.
type Machine struct {
	Name string

	host   int
	stage  *stage
	dir    string // the machine's own, with its disk
	config machine.Config

	talking sync.Mutex // one command at a time
	command *exec.Cmd
	stdin   io.WriteCloser
	answers *bufio.Reader

	dying   sync.Once
	death   error
	gone    chan struct{} // closed when the machine is gone
	diedAt  time.Time
	cleanUp func() error // what is left to do when it is; nil is nothing
}

func newMachine(s *stage, name string, host int) *Machine {
	return &Machine{
		Name: name, host: host, stage: s, gone: make(chan struct{}),
		dir: s.path("machines", strconv.Itoa(s.clusters), name),
	}
}

// Address is where the other machines and this process reach the machine.
func (m *Machine) Address() netip.Addr { return hostAddress(m.host) }

// Disk returns where this process finds a file of the machine's, such as the log of a
// service at /var/log/NAME.log. It is readable until this process ends.
func (m *Machine) Disk(path string) (string, error) { return m.config.Outside(path) }

func (m *Machine) folder(elements ...string) string {
	return filepath.Join(append([]string{m.dir}, elements...)...)
}

// layOut says what the machine is made of: services, and files in settingsFolder.
func (m *Machine) layOut(services []machine.Service, files map[string][]byte, routes []machine.Route, binds map[string]string) error {
	m.config = machine.Config{
		Name:     m.Name,
		Root:     m.folder("root"),
		Binds:    map[string]string{programsFolder: m.stage.programs()},
		Address:  hostPrefix(m.Address()),
		Routes:   routes,
		Services: services,
	}
	maps.Copy(m.config.Binds, binds)
	settings, err := m.config.Outside(settingsFolder)
	if err != nil {
		return err
	}
	return writeSettings(settings, files)
}

// start starts the machine and its services.
func (m *Machine) start(ctx context.Context) error {
	if err := m.powerOn(ctx); err != nil {
		return err
	}
	if err := plug(ctx, m.host, m.command.Process.Pid); err != nil {
		return err
	}
	return m.tell(ctx, "boot")
}

// powerOn starts the machine's first process, in namespaces of its own.
func (m *Machine) powerOn(ctx context.Context) (err error) {
	if err := os.MkdirAll(m.config.Root, 0o755); err != nil { //nolint:gosec // A root folder, for all its users.
		return fmt.Errorf("creating disk: %w", err)
	}
	content, err := json.Marshal(m.config)
	if err != nil {
		return fmt.Errorf("encoding machine: %w", err)
	}
	description := m.folder("machine.json")
	if err := os.WriteFile(description, content, 0o600); err != nil {
		return fmt.Errorf("writing machine: %w", err)
	}
	log, err := os.Create(m.folder("machine.log"))
	if err != nil {
		return fmt.Errorf("creating log: %w", err)
	}
	defer func() { _ = log.Close() }()
	command := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(m.stage.programs(), "init"), description)
	command.Stderr = log
	command.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:    true, // Ctrl-C reaches the tests; the machine ends with them
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if m.stdin, err = command.StdinPipe(); err != nil {
		return fmt.Errorf("creating pipe: %w", err)
	}
	answers, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("creating pipe: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("powering on: %w", err)
	}
	m.answers = bufio.NewReader(answers)
	m.command = command
	return nil
}

// tell gives the machine's first process a command and waits for its answer.
func (m *Machine) tell(ctx context.Context, command string) error {
	m.talking.Lock()
	defer m.talking.Unlock()
	if _, err := fmt.Fprintln(m.stdin, command); err != nil {
		return fmt.Errorf("telling %q: %w", command, err)
	}
	type reply struct {
		line string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		line, err := m.answers.ReadString('\n')
		replies <- reply{line, err}
	}()
	select {
	case r := <-replies:
		switch {
		case r.err != nil:
			log, _ := os.ReadFile(m.folder("machine.log")) // no log is no line
			return fmt.Errorf("waiting for the answer to %q: %w; its last line: %s", command, r.err, lastLine(log))
		case r.line != "ok\n":
			return fmt.Errorf("telling %q: %s", command, lastLine([]byte(r.line)))
		}
		return nil
	case <-ctx.Done():
		// The answer would be taken for the next command's: the machine is of no more use.
		return errors.Join(fmt.Errorf("telling %q: %w", command, context.Cause(ctx)), m.Die())
	}
}

// Die is a power cut: the network is gone, and then every process of the machine at
// once, containers included. It returns when that is so. Nothing is told to the API
// server. The disk stays. A second call does nothing.
func (m *Machine) Die() error {
	m.dying.Do(func() {
		defer close(m.gone)
		if m.cleanUp != nil {
			defer func() { m.death = errors.Join(m.death, m.cleanUp()) }()
		}
		if m.command == nil {
			return
		}
		// Network first: nothing of what the end of a process might still say gets out.
		// A machine whose start was cut short may not have been plugged in.
		_ = unplug(m.host)
		m.diedAt = time.Now()
		killed := m.command.Process.Kill()
		_ = m.command.Wait() // "signal: killed" is what was asked for
		if errors.Is(killed, os.ErrProcessDone) {
			killed = fmt.Errorf("cutting the power of %q: it was gone before", m.Name)
		}
		m.death = killed
	})
	return m.death
}

// Gone is closed when the machine has died.
func (m *Machine) Gone() <-chan struct{} { return m.gone }

// DiedAt is when the machine's power was cut; zero until it is gone.
func (m *Machine) DiedAt() time.Time {
	select {
	case <-m.gone:
		return m.diedAt
	default:
		return time.Time{}
	}
}
