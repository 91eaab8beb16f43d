//go:build unix && !linux

package agentrun

import "syscall"

// processAttributes puts the agent into a process group of its own, so that Ctrl-C in
// a terminal reaches only its starter. Nothing here ends it with a starter that is killed.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
