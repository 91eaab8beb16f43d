package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/placementrun"
)

// patience bounds every wait for something that takes seconds.
const patience = time.Minute

// bench is what the scenarios share.
type bench struct {
	progress io.Writer

	// What the command line asks for.
	chosen, rivals []string
	sizes          sizes
	runs           int
	idleFor        time.Duration
	creates        int           // of pods, in a block
	pace           time.Duration // between two of one client
	large          bool          // pods
	blocks         int           // of each way
	rotateFor      time.Duration
	logs           string // a folder for the agents' logs; empty: none

	lab     *lab.Lab
	dir     string // for the agents' files; vanishes with the lab
	program string // the agent's; empty if no chosen scenario needs it
	// placer is the placement program's; empty likewise.
	placer string

	site *site // nil until something is placed

	results results
	machine machine
}

func newBench(progress io.Writer) *bench {
	return &bench{progress: progress, results: results{}, machine: newMachine()}
}

// scenario is something to measure.
type scenario struct {
	key, title string
	// alone says that it is Ebbtide's, whoever else is chosen.
	alone bool
	// places says that it is about the placement program, and not about the agent.
	places bool
	// measure takes down its figures in b.results.
	measure func(ctx context.Context) error
}

// scenarios returns all of them, in the order in which they are run.
func (b *bench) scenarios() []scenario {
	var all []scenario
	for _, s := range newScenes(b.sizes) {
		all = append(all, scenario{
			key: s.key, title: s.title, measure: func(ctx context.Context) error { return b.compare(ctx, s) },
		})
	}
	for _, c := range clouds {
		all = append(all, scenario{
			key: "f" + c.suffix, alone: true, measure: func(ctx context.Context) error { return b.cordon(ctx, c) },
			title: fmt.Sprintf("notice to cordon on %s, %s: a notice becomes readable, a watcher sees the node cordoned; -runs times", c.provider, c.notices),
		})
	}
	for _, c := range clouds {
		all = append(all, scenario{
			key: "g" + c.suffix, alone: true, measure: func(ctx context.Context) error { return b.idle(ctx, c) },
			title: fmt.Sprintf("an agent has nothing to do on %s for -idle", c.provider),
		})
	}
	return append(all,
		scenario{key: "drain", alone: true, measure: b.drain, title: "what a drain of 40 pods with an open budget asks of the API server"},
		scenario{
			key: "admission", alone: true, places: true, measure: b.admission,
			title: "8 clients create -blocks blocks of -creates pods, with each way of placing them",
		},
		scenario{
			key: "rotation", alone: true, places: true, measure: b.rotation,
			title: "pods are created for -rotate while the webhook's certificate changes every 10 s, and its CA every 30 s",
		},
	)
}

func (b *bench) keys() []string {
	var keys []string
	for _, s := range b.scenarios() {
		keys = append(keys, s.key)
	}
	return keys
}

// check returns what makes the sizes senseless.
func (b *bench) check() error {
	for name, size := range map[string]int{
		"pods": b.sizes.pods, "blocked": b.sizes.blocked, "nodes": b.sizes.nodes / 2,
		"pods-per-node": b.sizes.podsPerNode, "budgets": b.sizes.budgets, "runs": b.runs, "idle": int(b.idleFor / time.Second),
		"creates": b.creates, "blocks": b.blocks, "rotate": int(b.rotateFor / time.Second),
	} {
		if size < 1 {
			return fmt.Errorf("-%s is too small", name)
		}
	}
	for _, s := range newScenes(b.sizes) {
		if err := s.check(); err != nil {
			return err
		}
	}
	return nil
}

// all runs the chosen scenarios on one lab and cleans up. One that fails does not
// keep the others from being measured.
func (b *bench) all(ctx context.Context) (err error) {
	b.say("Starting Kubernetes (the first time it is built from source, which takes some minutes)")
	if b.lab, err = lab.Start(ctx, lab.Options{Progress: b.progress}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.closeSite(ctx), b.lab.Close()) }()
	b.machine.Kubernetes = b.lab.Version()
	b.dir = filepath.Join(b.lab.Dir(), "bench")
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return fmt.Errorf("creating a folder for the agents: %w", err)
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	var errs []error
	for _, s := range b.scenarios() {
		if !slices.Contains(b.chosen, s.key) || ctx.Err() != nil {
			continue
		}
		b.say("%s: %s", s.key, s.title)
		if err := s.measure(ctx); err != nil {
			errs = append(errs, fmt.Errorf("measuring %s: %w", s.key, err))
		}
	}
	return errors.Join(errs...)
}

// build builds the programs that the chosen scenarios need.
func (b *bench) build(ctx context.Context) (err error) {
	needs := func(places bool) bool {
		return slices.ContainsFunc(b.scenarios(), func(s scenario) bool { return s.places == places && slices.Contains(b.chosen, s.key) })
	}
	if needs(false) {
		b.say("Building the agent")
		if b.program, err = agentrun.Build(ctx, b.dir, false); err != nil {
			return err
		}
	}
	if needs(true) {
		b.say("Building the placement program")
		if b.placer, err = placementrun.Build(ctx, b.dir, false); err != nil {
			return err
		}
	}
	program := cmp.Or(b.program, b.placer)
	built, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("reading the version of %q: %w", program, err)
	}
	b.machine.Ebbtide = built.Main.Version
	return nil
}

// compare plays a scene for each of the chosen contenders.
func (b *bench) compare(ctx context.Context, s scene) error {
	var errs []error
	for _, c := range contenders {
		if !slices.Contains(b.rivals, c.name) || ctx.Err() != nil {
			continue
		}
		figures, err := b.try(ctx, s, c)
		if err != nil {
			errs = append(errs, fmt.Errorf("trying %s: %w", c.name, err))
		}
		if figures != nil {
			b.results.put(s.key, c.name, figures)
		}
	}
	return errors.Join(errs...)
}

// report prints the tables and the verdicts, and says whether every bound was kept
// that this run has to do with.
func (b *bench) report(to io.Writer) bool {
	for _, s := range b.scenarios() {
		if len(b.results[s.key]) > 0 {
			b.results.print(to, s.key, s.title)
		}
	}
	return printVerdicts(to, b.results, b.asked)
}

// asked says whether a contender was to play a scenario.
func (b *bench) asked(key, contender string) bool {
	alone := slices.ContainsFunc(b.scenarios(), func(s scenario) bool { return s.key == key && s.alone })
	return slices.Contains(b.chosen, key) && (alone || slices.Contains(b.rivals, contender))
}

// say shows progress. Whole lines at a time, since several runs may speak.
func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, format+"\n", args...)
}

// pause waits for d, or until ctx ends, which is its error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
