//go:build linux

package nodes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Process is a program that runs on a node, in a container or not.
type Process struct {
	PID     int    // outside of the node
	Program string // the file's name, at most 15 characters of it
	// Resident is all of its memory that is in RAM, in bytes, and Proportional the same
	// with what it shares divided among those who share it: only the latter adds up.
	Resident, Proportional int64
}

// Processes returns what runs on a node at present. A node that is gone has none.
func (n *Node) Processes() ([]Process, error) {
	select {
	case <-n.gone:
		return nil, nil
	default:
	}
	self := filepath.Join("/proc", strconv.Itoa(n.command.Process.Pid), "ns", "pid")
	machine, err := os.Readlink(self)
	if err != nil {
		return nil, fmt.Errorf("reading the namespace of %q: %w", n.Name, err)
	}
	namespaces, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var processes []Process
	for _, path := range namespaces {
		if namespace, err := os.Readlink(path); err != nil || namespace != machine {
			continue // ended meanwhile, or another machine's
		}
		folder := filepath.Dir(filepath.Dir(path))
		process, err := readProcess(folder)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return nil, err
		}
		processes = append(processes, process)
	}
	return processes, nil
}

func readProcess(folder string) (Process, error) {
	pid, err := strconv.Atoi(filepath.Base(folder))
	if err != nil {
		return Process{}, fmt.Errorf("reading process %q: %w", folder, err)
	}
	name, err := os.ReadFile(filepath.Join(folder, "comm"))
	if err != nil {
		return Process{}, fmt.Errorf("reading process: %w", err)
	}
	memory, err := os.ReadFile(filepath.Join(folder, "smaps_rollup"))
	if err != nil {
		return Process{}, fmt.Errorf("reading process: %w", err)
	}
	process := Process{PID: pid, Program: strings.TrimSpace(string(name))}
	for line := range strings.Lines(string(memory)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return Process{}, fmt.Errorf("reading the memory of process %d: %w", pid, err)
		}
		switch fields[0] {
		case "Rss:":
			process.Resident = kilobytes << 10
		case "Pss:":
			process.Proportional = kilobytes << 10
		}
	}
	return process, nil
}
