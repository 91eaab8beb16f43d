//go:build linux

package nodes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Log is what one container has written, until it ended or its machine did.
type Log struct {
	Node, Namespace, Pod, UID, Container string
	// Attempt counts the container's restarts.
	Attempt int
	Lines   []Line
}

// Line is a line of a container's log as its container runtime wrote it.
type Line struct {
	At     time.Time
	Stream string // stdout or stderr
	Text   string // without the line's end
}

// keepEvery is far below the second or more that a kubelet takes from a container's end
// to the removal of its log.
const keepEvery = 200 * time.Millisecond

// keeper gives every log of a node's containers a second name, since the kubelet removes
// a log with its pod, which is when the tests begin to ask for it.
type keeper struct {
	from, to string
	end      chan struct{}
	ended    chan struct{}
	err      error // the first one; read it when ended is closed
}

func (n *Node) keepLogs() (*keeper, error) {
	from, err := n.config.Outside("/var/log/pods")
	if err != nil {
		return nil, err
	}
	k := &keeper{from: from, to: n.folder("logs"), end: make(chan struct{}), ended: make(chan struct{})}
	go k.run()
	return k, nil
}

func (k *keeper) run() {
	defer close(k.ended)
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for {
		if err := k.keep(); err != nil && k.err == nil {
			k.err = err
		}
		select {
		case <-ticker.C:
		case <-k.end:
			if err := k.keep(); k.err == nil {
				k.err = err
			}
			return
		}
	}
}

// stop keeps what is there once more and says whether a log was missed.
func (k *keeper) stop() error {
	if k == nil {
		return nil
	}
	close(k.end)
	<-k.ended
	return k.err
}

// keep links what is new. The names are POD/CONTAINER/ATTEMPT.log in both places.
func (k *keeper) keep() error {
	logs, err := filepath.Glob(filepath.Join(k.from, "*", "*", "*.log"))
	if err != nil {
		return fmt.Errorf("listing logs: %w", err)
	}
	for _, log := range logs {
		name, err := filepath.Rel(k.from, log)
		if err != nil {
			return fmt.Errorf("keeping log: %w", err)
		}
		kept := filepath.Join(k.to, name)
		if _, err := os.Lstat(kept); err == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(kept), 0o750); err != nil {
			return fmt.Errorf("keeping log: %w", err)
		}
		if err := os.Link(log, kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keeping log: %w", err)
		}
	}
	return nil
}

// Logs returns the logs of all containers that a namespace has had, on nodes that have
// died too, ordered by node, pod, container and attempt. A log grows while its
// container runs.
func (c *Cluster) Logs(namespace string) ([]Log, error) {
	var logs []Log
	for _, n := range c.nodes {
		paths, err := filepath.Glob(n.folder("logs", namespace+"_*", "*", "*.log"))
		if err != nil {
			return nil, fmt.Errorf("listing logs: %w", err)
		}
		for _, path := range paths {
			log, err := readLog(n.Name, path)
			if err != nil {
				return nil, err
			}
			logs = append(logs, log)
		}
	}
	slices.SortStableFunc(logs, func(a, b Log) int {
		if a.Node != b.Node || a.UID != b.UID || a.Container != b.Container {
			return 0 // as they are listed
		}
		return a.Attempt - b.Attempt
	})
	return logs, nil
}

// SaveLogs copies all logs into a folder, for a person to read when a test has failed: the
// control plane's, each machine's, and the containers'. Call it before [Cluster.Close].
func (c *Cluster) SaveLogs(folder string) error {
	type source struct{ from, pattern, to string }
	sources := []source{{c.lab.Dir(), "*.log", "control-plane"}}
	c.mu.Lock()
	machines := slices.Clone(c.machines)
	c.mu.Unlock()
	for _, n := range c.nodes {
		machines = append(machines, n.Machine)
		sources = append(sources, source{n.folder("logs"), "*/*/*.log", filepath.Join(n.Name, "pods")})
	}
	for _, m := range machines {
		sources = append(sources, source{m.folder("root", "var", "log"), "*.log", m.Name}, source{m.folder(), "*.log", m.Name})
	}
	for _, s := range sources {
		paths, err := filepath.Glob(filepath.Join(s.from, s.pattern))
		if err != nil {
			return fmt.Errorf("listing logs: %w", err)
		}
		for _, path := range paths {
			name, err := filepath.Rel(s.from, path)
			if err == nil {
				err = copyFile(path, filepath.Join(folder, s.to, name))
			}
			if err != nil {
				return fmt.Errorf("saving log %q: %w", path, err)
			}
		}
	}
	return nil
}

func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}

func readLog(node, path string) (Log, error) {
	folder, file := filepath.Split(path)
	container := filepath.Base(folder)
	pod := strings.Split(filepath.Base(filepath.Dir(filepath.Clean(folder))), "_")
	attempt, err := strconv.Atoi(strings.TrimSuffix(file, ".log"))
	if err != nil || len(pod) != 3 {
		return Log{}, fmt.Errorf("reading log %q: not NAMESPACE_POD_UID/CONTAINER/ATTEMPT.log", path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return Log{}, fmt.Errorf("reading log: %w", err)
	}
	log := Log{Node: node, Namespace: pod[0], Pod: pod[1], UID: pod[2], Container: container, Attempt: attempt}
	if log.Lines, err = parseLines(string(content)); err != nil {
		return Log{}, fmt.Errorf("reading log %q: %w", path, err)
	}
	return log, nil
}

// parseLines reads the runtime's format: time, stream, F for a whole line or P for a part
// of one, text. A last line that has no end yet is left out: it is still being written.
func parseLines(content string) ([]Line, error) {
	var lines []Line
	var begun strings.Builder
	for raw := range strings.Lines(content) {
		text, whole := strings.CutSuffix(raw, "\n")
		if !whole {
			break
		}
		fields := strings.SplitN(text, " ", 4)
		if len(fields) != 4 {
			return nil, fmt.Errorf("line %q is not of a container runtime", text)
		}
		at, err := time.Parse(time.RFC3339Nano, fields[0])
		if err != nil {
			return nil, fmt.Errorf("line %q is not of a container runtime: %w", text, err)
		}
		begun.WriteString(fields[3])
		if fields[2] == "P" {
			continue
		}
		lines = append(lines, Line{At: at, Stream: fields[1], Text: begun.String()})
		begun.Reset()
	}
	return lines, nil
}
