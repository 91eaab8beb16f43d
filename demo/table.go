package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ebbtide/ebbtide/drain"
)

// print shows the result: a table of the pods, and the figures.
func (r Result) print(screen *screen) {
	screen.line(plain, "")
	lines := r.table()
	screen.line(loud, "%s", lines[0])
	for i, line := range lines[1:] {
		screen.line(tones[r.Table[i].Fate], "%s", line)
	}
	screen.line(plain, "")
	for _, figure := range r.figures() {
		screen.line(plain, "%-28s %s", figure.what, figure.value)
	}
	screen.line(plain, "")
}

var tones = map[Fate]tone{Graceful: good, Forced: warn, Killed: warn, Lost: bad, Stayed: faint}

// table returns a head line and one line for each row.
func (r Result) table() []string {
	var text strings.Builder
	columns := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	// A strings.Builder takes everything.
	_, _ = fmt.Fprintln(columns, "POD\tOF\tWHAT BECAME OF IT\tTOLD AT\tGONE AT\tGRACE\tTIME LEFT")
	for _, row := range r.Table {
		told, grace := "never", "-"
		if row.ToldSeconds != nil {
			told = fmt.Sprintf("%.1f s", *row.ToldSeconds)
			grace = fmt.Sprintf("%d s", row.GraceGivenSeconds)
			if row.GraceWantedSeconds > row.GraceGivenSeconds {
				grace += fmt.Sprintf(" of %d", row.GraceWantedSeconds)
			}
		}
		kind, _, _ := strings.Cut(row.Owner, "/")
		_, _ = fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%.1f s\t%s\t%.1f s\n",
			row.Pod, cmp.Or(kind, "nobody"), row.story(), told, row.GoneSeconds, grace, row.LeftSeconds)
	}
	_ = columns.Flush()
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

// story tells in a few words what became of the pod.
func (r Row) story() string {
	switch r.Fate {
	case Stayed:
		return "stayed with its node"
	case Lost:
		return "LOST with the machine"
	case Killed:
		return paths[r.Path] + ", killed after its grace"
	case Graceful, Forced:
		if paths[r.Path] != "" {
			return paths[r.Path] + ", ended by itself"
		}
	}
	return "ended by itself"
}

var paths = map[drain.Path]string{
	drain.Evicted:    "evicted",
	drain.HandedOver: "replaced, then evicted",
	drain.Clamped:    "evicted, its grace cut",
	drain.Forced:     "deleted past its budget",
}

type figure struct{ what, value string }

func (r Result) figures() []figure {
	cordon := "never"
	if r.CordonSeconds != nil {
		cordon = fmt.Sprintf("%.2f s", *r.CordonSeconds)
	}
	kinds := make([]string, 0, len(r.Requests.ByKind))
	for _, kind := range slices.Sorted(maps.Keys(r.Requests.ByKind)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", r.Requests.ByKind[kind], kind))
	}
	return []figure{
		{"notice to cordon", cordon},
		{"notice to last eviction", fmt.Sprintf("%.1f s", r.LastEvictionSeconds)},
		{"notice to empty node", fmt.Sprintf("%.1f s of %.0f, %.1f to spare", r.EmptySeconds, r.NoticeSeconds, r.SpareSeconds)},
		{"pods", fmt.Sprintf("%d graceful, %d forced, %d killed, %d lost; %d stayed with the node",
			r.Pods.Graceful, r.Pods.Forced, r.Pods.Killed, r.Pods.Lost, r.Pods.Stayed)},
		{"web pods ready", fmt.Sprintf("never fewer than %d of %d (budget: %d)", r.Web.FewestReady, r.Web.Replicas, r.Web.Budget)},
		{"API requests", fmt.Sprintf("%d, %.1f for each pod, and %d Events; %d were refused because a budget was closed",
			r.Requests.Total, r.Requests.PerPod, r.Requests.Events, r.Requests.Refused)},
		{"", strings.Join(kinds, ", ")},
		{"metadata requests", fmt.Sprintf("%d, %.2f a second", r.Metadata.Total, r.Metadata.PerSecond)},
	}
}
