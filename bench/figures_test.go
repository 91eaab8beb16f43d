package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheFileHasAnObjectForEachScenarioAndContender(t *testing.T) {
	t.Parallel()
	r := results{}
	r.put("a", ebbtide, Figures{figureLastEviction: 0.9})
	r.put("a", kubectlQPS5, Figures{figureLastEviction: 20.4})
	path := filepath.Join(t.TempDir(), "out", "bench.json")
	if err := r.write(path, machine{Cores: 2, Kubectl: "v1"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		A       map[string]map[string]float64 `json:"a"`
		Machine struct {
			Cores   int    `json:"cores"`
			Kubectl string `json:"kubectl"`
		} `json:"machine"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]float64{"ebbtide": {"last_eviction_s": 0.9}, "kubectl_qps5": {"last_eviction_s": 20.4}}
	if diff := cmp.Diff(want, got.A); diff != "" {
		t.Errorf("scenario a (-want +got):\n%s", diff)
	}
	if got.Machine.Cores != 2 || got.Machine.Kubectl != "v1" {
		t.Errorf("machine %+v", got.Machine)
	}
}

func TestATableShowsWhatNobodyMeasuredAsADash(t *testing.T) {
	t.Parallel()
	r := results{}
	r.put("a", kubectlQPS5, Figures{figurePods: 110, figureLost: 3})
	r.put("a", ebbtide, Figures{figurePods: 110, figureLost: 0, figureDrained: 4.25})
	var table strings.Builder
	r.print(&table, "a", "a title")
	var got [][]string
	for line := range strings.Lines(table.String()) {
		if words := strings.Fields(line); len(words) > 0 {
			got = append(got, words)
		}
	}
	want := [][]string{
		{"a:", "a", "title"},
		{"ebbtide", "kubectl_qps5"},
		{"pods", "110", "110"},
		{"lost", "0", "3"},
		{"drained_s", "4.25", "-"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestEveryFigureThatABoundHoldsIsShown(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, m := range slices.Concat(meanings, placementMeanings) {
		if shown[m.name] {
			t.Errorf("%s is shown twice", m.name)
		}
		shown[m.name] = true
	}
	for _, b := range bounds {
		if !shown[b.figure] {
			t.Errorf("scenario %s has a bound for %s, which no table shows", b.scenario, b.figure)
		}
	}
}

func TestTheLibraryThatWeCompareWithHasAVersion(t *testing.T) {
	t.Parallel()
	if m := newMachine(); !strings.HasPrefix(m.Kubectl, "v") {
		t.Errorf("kubectl's library has version %q", m.Kubectl)
	}
}
