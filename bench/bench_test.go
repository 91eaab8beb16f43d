package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/placementrun"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(lab.Suite(agentrun.Suite(m))) }

// What a rival is must not become a part of the product: its drain, and the half of
// kubectl that it brings along.
func TestNoProgramLinksKubectlsDrain(t *testing.T) {
	t.Parallel()
	if !links(t, os.Args[0]) {
		t.Fatal("this test does not link it either: it would not notice")
	}
	for _, program := range []string{agentrun.Binary(t, false), placementrun.Binary(t, false)} {
		if links(t, program) {
			t.Errorf("%s links %s", filepath.Base(program), rivalPackage)
		}
	}
}

// rivalPackage is what Ebbtide is compared with.
const rivalPackage = kubectlModule + "/pkg/drain"

// links says whether a program has a function of the rival's in it: the names of all
// functions are in every program, for its stack traces. The name of the module does not
// tell, since other packages of it are of use to the product.
func links(t *testing.T, program string) bool {
	t.Helper()
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	// Joined here and not in the source: the test would find its own text in itself.
	return bytes.Contains(content, []byte(strings.Join([]string{rivalPackage, ""}, ".")))
}

// A small scene for each contender on a real control plane, with the machine's end in
// sight. How fast they are is not this test's matter; that the figures tell what
// happened is.
func TestEachContenderIsMeasuredOnItsOwn(t *testing.T) {
	t.Parallel()
	b := newBench(t.Output())
	b.lab, b.dir, b.program = lab.Shared(t), t.TempDir(), agentrun.Binary(t, false)
	s := scene{
		key: "test", title: "two pods may go, two may not", notice: 15 * time.Second, doomed: 1, podsPerNode: 4, safe: 1,
		groups: []group{
			{name: "free", replicas: 2, elsewhere: 1, grace: 5 * time.Second, exits: "1s", budgets: maxDown(allDown), service: true},
			{name: "held", kind: statefulSet, replicas: 2, grace: 5 * time.Second, exits: "1s", budgets: maxDown(noneDown)},
		},
	}
	want := map[string]Figures{
		ebbtide:     {figureTold: 4, figureExited: 4, figureLost: 0, figurePastBudget: 2, figureFailures: 0},
		kubectlQPS5: {figureTold: 2, figureExited: 2, figureLost: 2, figurePastBudget: 2, figureFailures: 1},
	}
	for _, c := range contenders {
		if want[c.name] == nil {
			continue
		}
		figures, err := b.try(t.Context(), s, c)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for figure, value := range want[c.name] {
			if figures[figure] != value {
				t.Errorf("%s: %s is %v, want %v; all figures: %v", c.name, figure, figures[figure], value, figures)
			}
		}
		// One of its pods is on a safe node, and stays.
		if n, has := figures[figureLeastEndpoints]; !has || n < 1 {
			t.Errorf("%s: %v ready endpoints of a Service that kept one", c.name, n)
		}
		if figures[figureRequests] == 0 {
			t.Errorf("%s did not ask the API server for anything", c.name)
		}
	}
	for _, namespace := range []string{"test-ebbtide", "test-kubectl-qps5"} {
		if slices.ContainsFunc(b.lab.Records(), func(r lab.PodRecord) bool { return r.Namespace == namespace && r.End == lab.Running }) {
			t.Errorf("pods are left in namespace %q", namespace)
		}
	}
}

// Both scenarios of placement, as small as they can be, on a control plane of their own:
// a webhook is called for everybody's pods, and its connections are cut off between two
// rounds. How long anything takes is not this test's matter; that what is measured is
// what it is called is.
func TestPlacementIsMeasuredEachWay(t *testing.T) {
	t.Parallel()
	b := newBench(t.Output())
	b.lab, b.dir, b.placer = lab.New(t), t.TempDir(), placementrun.Binary(t, false)
	b.creates, b.blocks = 2*clients, 2
	defer func() {
		if err := b.closeSite(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := b.admission(t.Context()); err != nil {
		t.Fatal(err)
	}
	often := rotations{lasts: 8 * time.Second, serving: 2 * time.Second, authority: 3 * time.Second, settle: 500 * time.Millisecond}
	if err := b.rotate(t.Context(), often); err != nil {
		t.Fatal(err)
	}
	asked := func(key, _ string) bool { return key == "admission" || key == "rotation" }
	for _, bound := range bounds {
		if slices.Contains([]string{figureAddedP50, figureAddedP99}, bound.figure) {
			continue
		}
		if v, limit := bound.judge(b.results, asked); v == missed {
			t.Error(bound.line(b.results, v, limit))
		}
	}
	for _, w := range ways {
		if n := b.results["admission"][w.name][figureCreates]; n != float64(b.blocks*b.creates) {
			t.Errorf("with %s %v pods were created, want %d", w.name, n, b.blocks*b.creates)
		}
	}
	if n := b.results["rotation"][ebbtide][figureAuthorities]; n < 2 {
		t.Errorf("certificates of %v CAs were seen, want more than one", n)
	}
	if _, has := b.results["admission"][webhook][figureAddedP99]; !has {
		t.Error("what the webhook adds was not measured")
	}
}
