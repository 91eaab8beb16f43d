//go:build linux

package nodes

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Process is a program that runs on a machine, in a container or not.
type Process struct {
	PID     int    // outside of the machine
	Program string // the file's name, at most 15 characters of it
	// Resident is all of its memory that is in RAM, in bytes, and Proportional the same
	// with what it shares divided among those who share it: only the latter adds up.
	Resident, Proportional int64
}

// Processes returns what runs on a machine at present, by id. A machine that is gone has none.
func (m *Machine) Processes() ([]Process, error) {
	select {
	case <-m.gone:
		return nil, nil
	default:
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	all := map[int]stat{}
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			return nil, fmt.Errorf("listing processes: %w", err)
		}
		if all[pid], err = readStat(pid); err != nil && !ended(err) {
			return nil, err
		}
	}
	var processes []Process
	for _, pid := range slices.Sorted(maps.Keys(all)) {
		if !descends(pid, m.command.Process.Pid, all) {
			continue
		}
		process := Process{PID: pid, Program: all[pid].program}
		switch err := process.readMemory(); {
		case err == nil:
			processes = append(processes, process)
		case !ended(err):
			return nil, fmt.Errorf("reading the memory of process %d: %w", pid, err)
		}
	}
	return processes, nil
}

// descends says whether a process is another's descendant, or that one itself. Whoever
// loses its parent on a machine gets the machine's first process for one.
func descends(pid, from int, all map[int]stat) bool {
	for range len(all) {
		if pid == from {
			return true
		}
		pid = all[pid].parent
	}
	return false
}

// ended says whether an error is what reading about a process gives that has ended.
func ended(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

func (p *Process) readMemory() error {
	memory, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(memory)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return err
		}
		switch fields[0] {
		case "Rss:":
			p.Resident = kilobytes << 10
		case "Pss:":
			p.Proportional = kilobytes << 10
		}
	}
	return nil
}

// stat is what is needed of /proc/PID/stat.
type stat struct {
	program string
	parent  int
	started string // clock ticks since the machine's start
}

func readStat(pid int) (stat, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, fmt.Errorf("reading process: %w", err)
	}
	s, err := parseStat(string(content))
	if err != nil {
		return stat{}, fmt.Errorf("reading process %d: %w", pid, err)
	}
	return s, nil
}

// parseStat reads "ID (NAME) STATE PARENT ...". The name may hold anything, parentheses
// and blanks too; the fields are counted from 1, as in proc(5).
func parseStat(content string) (stat, error) {
	opened, closed := strings.IndexByte(content, '('), strings.LastIndexByte(content, ')')
	if opened < 0 || closed < opened {
		return stat{}, fmt.Errorf("no name in %q", content)
	}
	const firstAfterName, parent, started = 3, 4, 22
	fields := strings.Fields(content[closed+1:])
	if len(fields) <= started-firstAfterName {
		return stat{}, fmt.Errorf("too few fields in %q", content)
	}
	s := stat{program: content[opened+1 : closed], started: fields[started-firstAfterName]}
	var err error
	if s.parent, err = strconv.Atoi(fields[parent-firstAfterName]); err != nil {
		return stat{}, fmt.Errorf("reading parent: %w", err)
	}
	return s, nil
}
