package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of processor times in /proc: the kernel's USER_HZ, which is 100 on
// every system that Go and Kubernetes run on.
const tick = 10 * time.Millisecond

var errShortStat = errors.New("fewer fields than a process has")

// processorTime returns how long a process has run on a processor so far, all threads
// together, from /proc/PID/stat.
func processorTime(pid int) (time.Duration, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	content, err := os.ReadFile(path) //nolint:gosec // The path is made of a number.
	if err != nil {
		return 0, fmt.Errorf("reading processor time: %w", err)
	}
	busy, err := parseStat(content)
	if err != nil {
		return 0, fmt.Errorf("parsing %q: %w", path, err)
	}
	return busy, nil
}

// parseStat adds user and system time, which proc(5) numbers 14 and 15. The second
// field, the program's name in parentheses, may hold anything.
func parseStat(stat []byte) (time.Duration, error) {
	const userTime, systemTime = 14 - 3, 15 - 3 // counted after the name
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= systemTime {
		return 0, errShortStat
	}
	var ticks int64
	for _, field := range [][]byte{fields[userTime], fields[systemTime]} {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}
