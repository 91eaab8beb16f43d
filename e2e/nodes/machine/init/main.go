//go:build linux

// Command init is the first process of a machine of the end-to-end tests; see package
// machine. Its one argument is the file that describes the machine.
package main

import (
	"fmt"
	"os"

	"github.com/ebbtide/ebbtide/e2e/nodes/machine"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: init MACHINE.json")
		os.Exit(2)
	}
	config, err := machine.Read(os.Args[1])
	if err == nil {
		err = machine.Run(config, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
