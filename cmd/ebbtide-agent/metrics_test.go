package main

import (
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

var update = flag.Bool("update", false, "write the metrics of the agent into docs/metrics.md")

// metricsPage is the reference of what the agent counts; the part between the two
// marks is written by this test.
const (
	metricsPage = "../../docs/metrics.md"
	begin, end  = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"
)

func TestThePageOfMetricsSaysWhatTheAgentServes(t *testing.T) {
	t.Parallel()
	config := Default()
	config.NodeName, config.Kubeconfig = "node-1", kubeconfigOfNobody(t)
	_, registry, err := build(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	got, after, ends := strings.Cut(rest, end)
	if !found || !ends {
		t.Fatalf("%s has no part between %q and %q", metricsPage, begin, end)
	}
	want := table(t, registry)
	if *update {
		if err := os.WriteFile(metricsPage, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/metrics.md is behind (-want +got); write it with: go test ./cmd/ebbtide-agent -update\n%s", diff)
	}
}

func TestARehearsalServesNoMetricOfEvents(t *testing.T) {
	t.Parallel()
	config := Default()
	config.NodeName, config.Kubeconfig, config.DryRun = "node-1", kubeconfigOfNobody(t), true
	_, registry, err := build(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if text := table(t, registry); strings.Contains(text, "ebbtide_events_total") {
		t.Error("a rehearsal would write Events")
	}
}

// kubeconfigOfNobody returns a file that leads to no API server.
func kubeconfigOfNobody(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://nowhere.invalid'}}]\n" +
		"contexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open holds the labels whose values are not all known before they occur.
var open = map[string]bool{"version": true, "goversion": true, "code": true}

// table lists the metrics of the project as a table of Markdown.
func table(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("| metric | kind | labels | what it says |\n|---|---|---|---|\n")
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "ebbtide_") {
			continue // Go's and the process's own
		}
		values := map[string][]string{}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				values[label.GetName()] = append(values[label.GetName()], "`"+label.GetValue()+"`")
			}
		}
		labels := make([]string, 0, len(values))
		for _, name := range slices.Sorted(maps.Keys(values)) {
			slices.Sort(values[name])
			label := "`" + name + "`"
			if !open[name] {
				label += ": " + strings.Join(slices.Compact(values[name]), ", ")
			}
			labels = append(labels, label)
		}
		fmt.Fprintf(&text, "| `%s` | %s | %s | %s |\n", family.GetName(),
			strings.ToLower(family.GetType().String()), strings.Join(labels, "; "), family.GetHelp())
	}
	return text.String()
}
