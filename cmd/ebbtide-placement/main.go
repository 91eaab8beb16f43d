// Command ebbtide-placement puts the pods that everything leans on onto long-lived
// nodes: it serves the admission webhook, or keeps an admission policy in step, and
// audits what either could not catch. With "explain" it says what it would decide; with
// "sweep" it takes back what drains have left behind.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A first signal asks for a stop, which lets the API servers learn of it; a second
	// one insists.
	context.AfterFunc(ctx, stop)
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "explain":
			os.Exit(explain(ctx, os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
		case "sweep":
			os.Exit(sweepUp(ctx, os.Args[2:], os.Stdout, os.Stderr))
		}
	}
	config, code, done := parse(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if done {
		os.Exit(code)
	}
	if err := run(ctx, config); err != nil {
		fmt.Fprintln(os.Stderr, "ebbtide-placement:", err)
		os.Exit(1)
	}
}
