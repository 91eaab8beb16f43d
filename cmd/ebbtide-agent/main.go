// Command ebbtide-agent looks after one node: it watches for the announcement that
// the machine will be taken away, and moves the pods off it in time.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "drill" {
		os.Exit(runDrill(context.Background(), os.Args[2:], os.Stdout, os.Stderr))
	}
	config, code, done := parse(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if done {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A first signal asks for a stop, which waits for a drain; a second one insists.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, config); err != nil {
		fmt.Fprintln(os.Stderr, "ebbtide-agent:", err)
		os.Exit(1)
	}
}
