package programrun

import "syscall"

// processAttributes puts a program into a process group of its own, so that Ctrl-C in
// a terminal reaches only its starter, and ends it with its starter.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
