// Package metricspage holds docs/metrics.md to what the programs serve. It is for their
// tests.
package metricspage

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// path is where the page is for the package of a program.
const path = "../../docs/metrics.md"

// ours is how the names of the metrics begin that are not Go's and the process's own.
const ours = "ebbtide_"

// Hold fails the test unless the page has the table of the program's metrics, between
// two comments with the program's name, and names every metric that has no series yet.
// A program that serves other metrics, or other values of a label, in another mode has a
// registry for each. With update it writes the table into the page.
func Hold(t testing.TB, program string, update bool, registries ...*prometheus.Registry) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+program+" metrics: begin -->\n", "<!-- "+program+" metrics: end -->\n"
	before, rest, found := strings.Cut(string(text), begin)
	got, after, ends := strings.Cut(rest, end)
	if !found || !ends {
		t.Fatalf("docs/metrics.md has no part between %q and %q", begin, end)
	}
	served := rows(t, registries)
	lines := []string{"| metric | kind | labels | what it says |\n|---|---|---|---|\n"}
	for _, name := range slices.Sorted(maps.Keys(served)) {
		lines = append(lines, served[name])
	}
	want := strings.Join(lines, "")
	if update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o600); err != nil { //nolint:gosec // G703: the path is a constant
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/metrics.md is behind (-want +got); write it with: go test ./cmd/ebbtide-%s -update\n%s", program, diff)
	}
	for _, registry := range registries {
		for _, name := range described(registry) {
			if served[name] == "" && !strings.Contains(before+after, "`"+name+"`") {
				t.Errorf("docs/metrics.md does not name %s, which has no series so far", name)
			}
		}
	}
}

// open holds the labels whose values are not all known before they occur.
var open = map[string]bool{"version": true, "goversion": true, "code": true}

// rows are those of a table of Markdown, by the metric that each is about.
func rows(t testing.TB, registries []*prometheus.Registry) map[string]string {
	t.Helper()
	kinds, texts, labels := map[string]string{}, map[string]string{}, map[string]values{}
	for _, registry := range registries {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			name := family.GetName()
			if !strings.HasPrefix(name, ours) {
				continue
			}
			kinds[name], texts[name] = strings.ToLower(family.GetType().String()), family.GetHelp()
			if labels[name] == nil {
				labels[name] = values{}
			}
			for _, metric := range family.GetMetric() {
				for _, label := range metric.GetLabel() {
					labels[name][label.GetName()] = append(labels[name][label.GetName()], "`"+label.GetValue()+"`")
				}
			}
		}
	}
	found := map[string]string{}
	for name, kind := range kinds {
		found[name] = fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, kind, labels[name], texts[name])
	}
	return found
}

// values holds those of each label of a metric.
type values map[string][]string

// String is how the table shows the labels of a metric.
func (v values) String() string {
	labels := make([]string, 0, len(v))
	for _, name := range slices.Sorted(maps.Keys(v)) {
		label := "`" + name + "`"
		if !open[name] {
			label += ": " + strings.Join(slices.Compact(slices.Sorted(slices.Values(v[name]))), ", ")
		}
		labels = append(labels, label)
	}
	return strings.Join(labels, "; ")
}

// described lists the project's metrics that are registered, with a series or without.
func described(registry *prometheus.Registry) []string {
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		registry.Describe(descriptions)
	}()
	var names []string
	for description := range descriptions {
		// A description tells its name in no other way.
		if parts := fullName.FindStringSubmatch(description.String()); parts != nil {
			names = append(names, parts[1])
		}
	}
	return names
}

var fullName = regexp.MustCompile(`fqName: "(` + ours + `[a-z0-9_]+)"`)
