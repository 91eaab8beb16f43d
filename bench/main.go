// Command bench measures an agent on the lab: a real control plane, simulated
// nodes, a fake metadata service and the agent's real program. It prints a table
// of figures, each with the bound that it has to keep, writes the same to
// out/bench.json, and ends with exit code 1 if one does not keep it.
//
// So far it measures Ebbtide alone; kubectl's drain joins it later.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// figure is one measured number and the bound that it has to keep.
type figure struct {
	Scenario string  `json:"scenario"`
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	AtMost   float64 `json:"atMost"`
}

func (f figure) kept() bool { return f.Value <= f.AtMost }

// scenario measures one thing on a running lab.
type scenario struct {
	name, help string
	measure    func(*bench, context.Context) error
}

var scenarios = []scenario{
	{"drain", "a node of 40 pods with open budgets is drained", (*bench).drain},
	{"cordon", "a notice becomes readable, the node is cordoned; -runs times", (*bench).cordon},
	{"idle", "an agent has nothing to do for -idle", (*bench).idle},
}

// bench is what the scenarios share.
type bench struct {
	lab      *lab.Lab
	program  string
	dir      string
	runs     int
	idleFor  time.Duration
	progress io.Writer
	figures  []figure
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal cleans up; a second one does not wait for that.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run measures what args ask for and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	b := &bench{progress: stderr}
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	chosen := flags.String("scenarios", strings.Join(names, ","), "which to run, separated by commas")
	out := flags.String("out", filepath.Join("out", "bench.json"), "where to write the figures as JSON")
	flags.IntVar(&b.runs, "runs", 50, "how often the scenario cordon is run")
	flags.DurationVar(&b.idleFor, "idle", 5*time.Minute, "how long the scenario idle takes")
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: bench [flags]\n\nMeasures the agent on a real control plane. Scenarios:")
		for _, s := range scenarios {
			_, _ = fmt.Fprintf(stderr, "  %-8s %s\n", s.name, s.help)
		}
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	for name := range strings.SplitSeq(*chosen, ",") {
		if !slices.Contains(names, name) {
			_, _ = fmt.Fprintf(stderr, "bench: no scenario is called %q, only %s\n", name, strings.Join(names, ", "))
			return 2
		}
	}
	err := b.all(ctx, strings.Split(*chosen, ","))
	b.print(stdout)
	if err = errors.Join(err, b.write(*out)); err != nil {
		_, _ = fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	if slices.ContainsFunc(b.figures, func(f figure) bool { return !f.kept() }) {
		return 1
	}
	return 0
}

// all runs the chosen scenarios on one lab and cleans up.
func (b *bench) all(ctx context.Context, chosen []string) (err error) {
	if b.dir, err = os.MkdirTemp("", "ebbtide-bench-*"); err != nil {
		return fmt.Errorf("creating a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	b.say("Building the agent")
	if b.program, err = agentrun.Build(ctx, b.dir, false); err != nil {
		return err
	}
	b.say("Starting Kubernetes (the first time it is built from source, which takes some minutes)")
	if b.lab, err = lab.Start(ctx, lab.Options{Progress: b.progress}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.lab.Close()) }()
	for _, s := range scenarios {
		if !slices.Contains(chosen, s.name) {
			continue
		}
		b.say("Measuring %s: %s", s.name, s.help)
		if err := s.measure(b, ctx); err != nil {
			return fmt.Errorf("measuring %s: %w", s.name, err)
		}
	}
	return nil
}

// say shows progress. Whole lines at a time, since several runs may speak.
func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, format+"\n", args...)
}

// note takes down a figure.
func (b *bench) note(scenario, name string, value float64, unit string, atMost float64) {
	b.figures = append(b.figures, figure{scenario, name, value, unit, atMost})
}

func (b *bench) print(to io.Writer) {
	columns := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(columns, "SCENARIO\tFIGURE\tMEASURED\tAT MOST\t")
	for _, f := range b.figures {
		verdict := ""
		if !f.kept() {
			verdict = "TOO MUCH"
		}
		_, _ = fmt.Fprintf(columns, "%s\t%s\t%.4g %s\t%.4g %s\t%s\n", f.Scenario, f.Name, f.Value, f.Unit, f.AtMost, f.Unit, verdict)
	}
	_ = columns.Flush()
}

func (b *bench) write(path string) error {
	text, err := json.MarshalIndent(b.figures, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // figures are for everybody
	}
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // figures are for everybody
	}
	if err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	return nil
}
