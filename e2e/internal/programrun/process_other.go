//go:build unix && !linux

package programrun

import "syscall"

// processAttributes puts a program into a process group of its own, so that Ctrl-C in
// a terminal reaches only its starter. Nothing here ends it with a starter that is killed.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
