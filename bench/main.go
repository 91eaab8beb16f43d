// Command bench measures Ebbtide beside kubectl's drain, as a termination handler
// calls it, in one run and on one control plane: the lab's, which is a real one with
// simulated nodes. What becomes of the pods is read from the nodes' own records, the
// API server's audit log and watches, and never from what a contender says of itself.
//
// It also measures what the placement of pods costs those who create them: with the
// webhook, with an admission policy and with neither.
//
// It prints a table of figures for each scenario and a verdict for each bound that
// Ebbtide has to keep, writes the figures to out/bench.json, and ends with exit code
// 1 if a bound was missed.
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
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

// Exit codes.
const (
	exitKept        = 0
	exitMissed      = 1 // also: something could not be measured
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal cleans up; a second one does not wait for that.
	context.AfterFunc(ctx, stop)
	// client-go tells of every request that a contender's end cuts off.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run measures what args ask for and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	b := newBench(stderr)
	out, err := b.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitKept
	case err != nil:
		return exitUsage
	}
	began := time.Now()
	err = b.all(ctx)
	b.machine.TookSeconds = round(time.Since(began).Seconds())
	if err = errors.Join(err, b.results.write(out, b.machine)); err != nil {
		_, _ = fmt.Fprintln(stderr, "bench:", err)
	}
	kept := b.report(stdout)
	switch {
	case ctx.Err() != nil:
		_, _ = fmt.Fprintln(stderr, "bench: interrupted; nothing is left running:", context.Cause(ctx))
		return exitInterrupted
	case err != nil || !kept:
		return exitMissed
	}
	_, _ = fmt.Fprintf(stdout, "\nThe figures are in %s. The run took %s.\n", out, time.Since(began).Round(time.Second))
	return exitKept
}

// parse reads the command line and returns the path of the figures. What is wrong
// with it has been printed when it returns an error.
func (b *bench) parse(args []string) (out string, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(b.progress)
	scenarios := flags.String("scenarios", strings.Join(b.keys(), ","), "which to run, separated by commas")
	rivals := flags.String("rivals", strings.Join(contenderNames(), ","), "whom to run them for, separated by commas")
	flags.StringVar(&out, "out", filepath.Join("out", "bench.json"), "where to write the figures as JSON")
	flags.IntVar(&b.sizes.pods, "pods", 110, "a: pods on the node")
	flags.IntVar(&b.sizes.blocked, "blocked", 20, "b: pods behind budgets that never open")
	flags.IntVar(&b.sizes.nodes, "nodes", 100, "d: nodes, half of which get notice")
	flags.IntVar(&b.sizes.podsPerNode, "pods-per-node", 20, "d: pods on each node")
	flags.IntVar(&b.sizes.budgets, "budgets", 10, "d: Deployments, with a budget each")
	flags.IntVar(&b.runs, "runs", 50, "f: notices, on each cloud")
	flags.DurationVar(&b.idleFor, "idle", 5*time.Minute, "g: how long the agent has nothing to do, on each cloud")
	flags.IntVar(&b.creates, "creates", 100, "admission: pods of a block")
	flags.DurationVar(&b.pace, "pace", 0, "admission: time between two pods of each client; 0: each as fast as it can, "+
		"which keeps a small machine so busy that a time is the work of all clients' pods: 200ms is a rollout's pace")
	flags.BoolVar(&b.large, "large", false, "admission: pods of 10 KiB with an affinity of their own in the place of typical ones of 2 KiB")
	flags.IntVar(&b.blocks, "blocks", 5, "admission: blocks of each way, in turn")
	flags.DurationVar(&b.rotateFor, "rotate", 3*time.Minute, "rotation: how long certificates change")
	flags.StringVar(&b.logs, "logs", "", "a folder to keep the agents' logs of a to e in, to find out why a figure is what it is")
	flags.Usage = func() { b.usage(flags) }
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	if b.chosen, err = choose("scenario", *scenarios, b.keys()); err == nil {
		b.rivals, err = choose("contender", *rivals, contenderNames())
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("there is nothing to do with %q", flags.Arg(0))
	}
	if err == nil {
		err = b.check()
	}
	if err != nil {
		_, _ = fmt.Fprintln(b.progress, "bench:", err)
	}
	return out, err
}

// choose splits a list of names, each of which has to be one of known.
func choose(kind, list string, known []string) ([]string, error) {
	chosen := strings.Split(list, ",")
	for _, name := range chosen {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no %s is called %q, only %s", kind, name, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

func (b *bench) usage(flags *flag.FlagSet) {
	b.say("usage: bench [flags]\n")
	b.say("Measures Ebbtide beside kubectl's drain, and what its placement of pods costs, on a real control plane with simulated nodes.\n")
	b.say("Scenarios:")
	for _, s := range b.scenarios() {
		b.say("  %-9s  %s", s.key, s.title)
	}
	b.say("\nContenders of a to e; the other scenarios are Ebbtide's alone:")
	for _, c := range contenders {
		b.say("  %-15s %s", c.name, c.help)
	}
	b.say("\nEach contender gets a namespace and nodes of its own, and each machine dies at its deadline, with its handler.")
	b.say("A run ends when the pods have ended and are replaced, or %s after the deadline: what is unavailable", aftermath)
	b.say("for longer is not counted, in favour of whoever caused it.\n")
	b.say("Ways of placing pods in admission. Only one is in force at a time, and each has its program started and ended:")
	for _, w := range ways {
		b.say("  %-16s %s", w.name, w.help)
	}
	b.explain("a to e", meanings)
	b.explain("admission and rotation", placementMeanings)
	b.say("\nFlags:")
	flags.PrintDefaults()
	b.say("\nExit code 0 says that every bound was kept that the chosen scenarios have, 1 that one was missed.")
}

// explain says what figures mean.
func (b *bench) explain(of string, figures []meaning) {
	b.say("\nFigures of %s:", of)
	for _, m := range figures {
		if m.help != "" {
			b.say("  %-36s %s", m.name, m.help)
		}
	}
}
