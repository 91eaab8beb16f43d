// Command workload is what the pods of the end-to-end tests run: each mode behaves in
// one way that an interruption can hurt, and says on its own log, with timestamps, what
// became of it. The logs are the tests' evidence, so each line is JSON with a fixed
// message, and a container that ends by itself says "Ended" last.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `usage: workload MODE [flags]

  serve    answer HTTP requests; after SIGTERM go on for --linger, then close the listener
  sleep    do nothing; after SIGTERM end when --linger is over
  keep     write a line each second to a file in --dir; after SIGTERM flush for --linger
  fetch    request --url every --every, each time on a new connection, and count failures
  lookup   resolve --name every --every, without a cache, and count failures
  prestop  as a preStop hook: say so on the container's own log, and take --linger
`

// options are the flags of all modes: few enough to share.
type options struct {
	listen string
	linger time.Duration
	dir    string
	url    string
	name   string
	every  time.Duration
	limit  time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: 0 when it ended as it should, 1 when it did not, 2 for a wrong
// command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	log := slog.New(slog.NewJSONHandler(stdout, nil))
	if len(args) == 0 {
		_, _ = io.WriteString(stderr, usage)
		return 2
	}
	var o options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.listen, "listen", ":8080", "`address` to serve on")
	flags.DurationVar(&o.linger, "linger", 5*time.Second, "how long the end takes")
	flags.StringVar(&o.dir, "dir", "/data", "`folder` to write to")
	flags.StringVar(&o.url, "url", "", "what to request")
	flags.StringVar(&o.name, "name", "", "what to resolve")
	flags.DurationVar(&o.every, "every", 100*time.Millisecond, "the pause between two tries")
	flags.DurationVar(&o.limit, "limit", 2*time.Second, "how long one try may take")
	modes := map[string]func(context.Context, options, *slog.Logger) error{
		"serve": serve, "sleep": sleep, "keep": keep, "fetch": fetch, "lookup": lookup, "prestop": prestop,
	}
	mode, known := modes[args[0]]
	if !known {
		_, _ = io.WriteString(stderr, usage)
		return 2
	}
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if err := mode(ctx, o, log); err != nil {
		log.Error("Broke", "err", err)
		return 1
	}
	return 0
}
