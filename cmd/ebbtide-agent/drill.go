package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/drill"
)

// The exit codes of a drill; scripts branch on them.
const (
	exitCompleted = 0
	exitCouldNot  = 1 // it could not be ordered, or did not come to its end
	exitUsage     = 2
	exitLeftPods  = 3
)

const drillUsage = `ebbtide-agent drill lets the agent that runs here act as if the cloud had announced its node's end, and
puts the node back afterwards.

Usage:
  kubectl exec POD -- /ebbtide-agent drill [flags]

The running agent does the work, and goes on when this program ends. If a drill is under way, that one is shown.
There is none while the node is under a notice, or carries anything that an earlier drain has left.
No disruption budget is passed and no grace is shortened; what cannot leave that way stays, and is named.
A real notice in the middle takes over.

Flags:
  --notice DURATION  how long the notice is to be, from %s to %s (default %s)
  --force            delete pods past their budget, and shorten graces, as an interruption would
  --dry-run          print the plan, and touch nothing
  --attach           order nothing: show the drill that is under way, or the last one
  -o FORMAT          text, as it happens, or json, one object at the end (default text)
  --socket FILE      where the agent listens, if its configuration says so (default %s)
  --help             print this page, and end

Exit code: 0 when every pod that had to leave has left, 3 when some stayed, 1 when there was no drill, when it was
broken off or when not all was put back, 2 for a mistake in flags.
`

// defaultNotice is that of EC2.
const defaultNotice = 2 * time.Minute

// drillFlags are what was typed after "drill".
type drillFlags struct {
	order          agent.DrillOrder
	attach         bool
	format, socket string
}

// runDrill orders or follows a drill, and returns the exit code.
func runDrill(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags, err := parseDrill(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintf(stdout, drillUsage, agent.MinDrillNotice, agent.MaxDrillNotice, defaultNotice, Default().Drill.Socket)
		return exitCompleted
	}
	if err != nil {
		complain(stderr, err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	result, err := follow(ctx, flags, stdout, stderr)
	if err != nil {
		complain(stderr, err)
		return exitCouldNot
	}
	switch result.Outcome {
	case drill.Completed:
		return exitCompleted
	case drill.LeftPods:
		return exitLeftPods
	case drill.BrokenOff:
	}
	return exitCouldNot
}

func complain(stderr io.Writer, err error) {
	_, _ = fmt.Fprintln(stderr, "ebbtide-agent drill:", err)
}

func parseDrill(args []string) (drillFlags, error) {
	flags := drillFlags{order: agent.DrillOrder{Notice: defaultNotice}}
	set := flag.NewFlagSet("drill", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.DurationVar(&flags.order.Notice, "notice", flags.order.Notice, "")
	set.BoolVar(&flags.order.Force, "force", false, "")
	set.BoolVar(&flags.order.DryRun, "dry-run", false, "")
	set.BoolVar(&flags.attach, "attach", false, "")
	set.StringVar(&flags.format, "o", "text", "")
	set.StringVar(&flags.socket, "socket", Default().Drill.Socket, "")
	if err := set.Parse(args); err != nil {
		return flags, err
	}
	ordered := false
	set.Visit(func(f *flag.Flag) {
		ordered = ordered || f.Name == "notice" || f.Name == "force" || f.Name == "dry-run"
	})
	switch {
	case set.NArg() > 0:
		return flags, fmt.Errorf("%q is not a flag, and nothing after it was read", set.Arg(0))
	case flags.format != "text" && flags.format != "json":
		return flags, fmt.Errorf("-o: %q is not one of text, json", flags.format)
	case flags.attach && ordered:
		return flags, errors.New("--attach orders nothing: leave out --notice, --force and --dry-run")
	}
	return flags, flags.order.Check()
}

// follow tells the drill on stdout until it has ended.
func follow(ctx context.Context, flags drillFlags, stdout, stderr io.Writer) (drill.Result, error) {
	result := drill.Result{Outcome: drill.BrokenOff}
	client := drill.Client{Socket: flags.socket}
	begin := func() (*drill.Stream, error) { return client.Begin(ctx, flags.order) }
	if flags.attach {
		begin = func() (*drill.Stream, error) { return client.Attach(ctx) }
	}
	stream, err := begin()
	if err != nil {
		return result, err
	}
	defer func() { _ = stream.Close() }()
	if stream.Attached && !flags.attach {
		_, _ = fmt.Fprintln(stderr, "A drill is under way already; no other one was begun.")
	}
	text := drill.NewText(stdout)
	for {
		event, err := stream.Next()
		switch {
		case errors.Is(err, io.EOF):
			if flags.format == "json" {
				err = json.NewEncoder(stdout).Encode(result)
				return result, err
			}
			return result, nil
		case err != nil && ctx.Err() != nil:
			return result, errors.New("the drill goes on; follow it with --attach")
		case err != nil:
			return result, err
		}
		result.Take(event)
		if flags.format == "text" {
			text.Tell(event)
		}
	}
}
