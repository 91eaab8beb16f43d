package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestEveryScenarioThatHasABoundExists(t *testing.T) {
	t.Parallel()
	b := newBench(io.Discard)
	if _, err := b.parse(nil); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, key := range b.keys() {
		known[key] = true
	}
	for _, bound := range bounds {
		if !known[bound.scenario] {
			t.Errorf("no scenario is called %q", bound.scenario)
		}
	}
}

func TestTheStormIsAsLargeAsItIsToBe(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		size                         sizes
		nodes, pods, doomed, budgets int
	}{
		"half of a hundred nodes":   {sizes{nodes: 100, podsPerNode: 20, budgets: 10}, 50, 2000, 1000, 10},
		"half of two hundred nodes": {sizes{nodes: 200, podsPerNode: 20, budgets: 10}, 100, 4000, 2000, 10},
		"pods that do not divide":   {sizes{nodes: 6, podsPerNode: 7, budgets: 4}, 3, 42, 21, 4},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storm(c.size, "d", "20%")
			if err := s.check(); err != nil {
				t.Fatal(err)
			}
			all, doomed := s.pods()
			if s.doomed != c.nodes || all != c.pods || doomed != c.doomed || len(s.groups) != c.budgets {
				t.Errorf("%d doomed nodes with %d of %d pods in %d Deployments, want %+v", s.doomed, doomed, all, len(s.groups), c)
			}
		})
	}
}

func TestACommandLineThatCannotBeMeantIsRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		args []string
		says string
	}{
		"a scenario that is not there":       {[]string{"-scenarios", "a,z"}, `no scenario is called "z"`},
		"a contender that is not there":      {[]string{"-rivals", "draino"}, `no contender is called "draino"`},
		"a storm that takes no node":         {[]string{"-nodes", "1"}, "-nodes is too small"},
		"an idle time of less than a second": {[]string{"-idle", "10ms"}, "-idle is too small"},
		"fewer pods than Deployments":        {[]string{"-pods", "10"}, `scene a has no pod for "web10"`},
		"a word that is no flag":             {[]string{"a"}, `nothing to do with "a"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said strings.Builder
			if code := run(t.Context(), c.args, io.Discard, &said); code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if !strings.Contains(said.String(), c.says) {
				t.Errorf("said %q, want %q in it", said.String(), c.says)
			}
		})
	}
}

func TestHelpTellsOfEveryScenarioContenderAndFigure(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	if code := run(t.Context(), []string{"--help"}, io.Discard, &said); code != exitKept {
		t.Errorf("exit code %d", code)
	}
	for _, word := range append(contenderNames(), "d_open", "-nodes", figurePastBudget, "Exit code") {
		if !strings.Contains(said.String(), word) {
			t.Errorf("help lacks %q", word)
		}
	}
}

func TestProcessorTimeIsReadBehindAnyName(t *testing.T) {
	t.Parallel()
	stat := "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 9 0 100 1 2"
	busy, err := parseStat([]byte(stat))
	if want := 460 * time.Millisecond; err != nil || busy != want {
		t.Errorf("%s, %v; want %s", busy, err, want)
	}
	if busy, err := parseStat([]byte("7 (a) S 1 7")); err == nil {
		t.Errorf("read %s from a line that is cut off", busy)
	}
}
