//go:build linux

// Package machine is the first process of a machine that is made of Linux namespaces:
// it lays out a file system of the machine's own, sets up its network, starts its
// services and takes the exit status of every process that has lost its parent.
//
// It has to be process 1 of a new process namespace, in new mount, network, UTS and IPC
// namespaces. That is what makes a machine die as one: when process 1 ends, however it
// ends, the kernel kills every other process of the namespace at once, and the mounts
// and network devices go with the last of them. Process 1 ends when its standard input
// does, so a machine never outlives whoever started it.
package machine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// Config describes a machine. Paths outside of Root are those of whoever starts it.
type Config struct {
	Name string
	// Root is a folder that becomes the machine's disk. What the machine writes below
	// /var, /run, /srv and /tmp is found there during its life and afterwards.
	Root string
	// Binds are folders that the machine sees, read only: its path for each of theirs.
	Binds map[string]string
	// Address is that of eth0, with the length of its network's prefix.
	Address netip.Prefix
	// Metadata is one more address, which no other machine can reach; none when it is invalid.
	Metadata netip.Addr
	// Routes are all the machine has beside eth0's network: what is not in them does
	// not exist for it.
	Routes []Route
	// Services start in this order.
	Services []Service
}

// Route is a network and the neighbour that leads to it.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Service is a program that runs for the machine's life. Its output is in
// /var/log/NAME.log.
type Service struct {
	Name string
	Args []string // the program's path first
	// Socket is a unix socket on which the service answers when it is ready; with none
	// the next service does not wait for it.
	Socket string
	// Then are commands to run once it is ready, before the next service starts.
	Then [][]string
}

// Run is the whole life of process 1. It reads commands from in, one on a line, and
// answers each with a line of "ok" or of what went wrong:
//
//	boot          once eth0 is there: network, then services
//	kill NAME     end a service at once
//	restart NAME  end a service with SIGTERM, and start it again
//
// It returns when in ends; process 1 must exit then.
func Run(config Config, in io.Reader, out io.Writer) error {
	if pid := os.Getpid(); pid != 1 {
		return fmt.Errorf("starting machine %q: process %d is not the first of a namespace", config.Name, pid)
	}
	if err := enterRoot(config.Root, config.Binds); err != nil {
		return fmt.Errorf("laying out the disk of %q: %w", config.Name, err)
	}
	if err := syscall.Sethostname([]byte(config.Name)); err != nil {
		return fmt.Errorf("naming machine %q: %w", config.Name, err)
	}
	m := newSupervisor(config.Services)
	go m.reap()
	commands := make(chan string)
	ended := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			commands <- lines.Text()
		}
		ended <- lines.Err()
	}()
	go func() {
		for command := range commands {
			answer := "ok"
			if err := obey(config, m, strings.Fields(command)); err != nil {
				answer = strings.ReplaceAll(err.Error(), "\n", " | ")
			}
			_, _ = fmt.Fprintln(out, answer) // whoever does not listen is about to go
		}
	}()
	// Not when the command under way is done: nobody waits for it any more.
	return <-ended
}

func obey(config Config, m *supervisor, command []string) error {
	switch {
	case len(command) == 1 && command[0] == "boot":
		if err := setUpNetwork(config, m); err != nil {
			return err
		}
		return m.startAll()
	case len(command) == 2 && command[0] == "kill":
		return m.kill(command[1])
	case len(command) == 2 && command[0] == "restart":
		return m.restart(command[1])
	}
	return fmt.Errorf("command %q is not known", command)
}

// Read reads a Config from a file of JSON.
func Read(path string) (Config, error) {
	var config Config
	content, err := os.ReadFile(path)
	if err != nil {
		return config, fmt.Errorf("reading machine: %w", err)
	}
	if err := json.Unmarshal(content, &config); err != nil {
		return config, fmt.Errorf("decoding machine %q: %w", path, err)
	}
	return config, nil
}
