package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/provider"
)

// signalsPage is what users read of the sources and of what is done about notices.
const signalsPage = "../../docs/signals.md"

func TestThePageOfSignalsHasEverySourceWithItsPace(t *testing.T) {
	t.Parallel()
	want := map[string]string{}
	config := Default()
	config.NodeName, config.Cluster.Enabled = "worker-1", true
	for _, name := range provider.All {
		sources, err := newSources(config, place{provider: name}, &rest.Config{})
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range sources {
			pace, every := source.Pace(), "long poll"
			// What is held has a breath between two polls, and no more.
			if pace.Every >= time.Second {
				every = brief(pace.Every)
			}
			want["`"+source.Provider()+"-"+source.Name()+"`"] = every + ", " + brief(pace.BlindAfter)
		}
	}
	got := map[string]string{}
	for _, cells := range tableOf(t, "sources") {
		got[cells[0]] = cells[2] + ", " + cells[3]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the sources of docs/signals.md (-want +got):\n%s", diff)
	}
}

func TestThePageOfSignalsSaysWhatIsDoneByDefault(t *testing.T) {
	t.Parallel()
	rules := agent.DefaultRules()
	want := map[string]string{}
	for kind, response := range rules.Kinds {
		want[fmt.Sprintf("`%s`", kind)] = fmt.Sprintf("`%s`", response)
	}
	for action, response := range rules.Actions {
		want[fmt.Sprintf("`%s`, `%s`", agent.Maintenance, action)] = fmt.Sprintf("`%s`", response)
	}
	got := map[string]string{}
	for _, cells := range tableOf(t, "responses") {
		got[cells[0]] = cells[1]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the responses of docs/signals.md (-want +got):\n%s", diff)
	}
	text := strings.Join(strings.Fields(page(t)), " ")
	for _, sentence := range []string{
		"`DrainBefore` does so " + inWords(rules.Lead) + " before the deadline",
		"A freeze is short below " + inWords(rules.ShortFreeze),
		"an advice is followed for " + inWords(rules.TTL) + " from when",
	} {
		if !strings.Contains(text, sentence) {
			t.Errorf("docs/signals.md does not say %q", sentence)
		}
	}
	for _, response := range agent.Responses {
		if !strings.Contains(text, fmt.Sprintf("`%s`", response)) {
			t.Errorf("docs/signals.md does not explain %s", response)
		}
	}
}

func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(signalsPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tableOf returns the rows of a table of the page without its head, by cells.
func tableOf(t *testing.T, name string) [][]string {
	t.Helper()
	_, rest, begins := strings.Cut(page(t), "<!-- "+name+": begin -->\n")
	table, _, ends := strings.Cut(rest, "<!-- "+name+": end -->\n")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if !begins || !ends || len(lines) < 3 {
		t.Fatalf("docs/signals.md has no table %q", name)
	}
	var rows [][]string
	for _, line := range lines[2:] {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if want := strings.Count(lines[0], "|") - 1; len(cells) != want {
			t.Fatalf("the row %q has %d cells, want %d", line, len(cells), want)
		}
		rows = append(rows, cells)
	}
	return rows
}

// zeros are the units of a duration's text of which there are none.
var zeros = regexp.MustCompile(`([hm])0[ms](0s)?$`)

// brief is a duration without its zeros: 2m, not 2m0s.
func brief(d time.Duration) string { return zeros.ReplaceAllString(d.String(), "$1") }

// inWords is a duration of whole minutes or hours as a sentence has it.
func inWords(d time.Duration) string {
	n, unit := d/time.Minute, "minute"
	if d%time.Hour == 0 {
		n, unit = d/time.Hour, "hour"
	}
	if n > 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}
