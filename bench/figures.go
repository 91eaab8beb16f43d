package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// Figures is what was measured, by the name of each figure. What could not be measured
// is not there: a node that was never empty has no time at which it was.
type Figures map[string]float64

// The names of the figures, as in out/bench.json. Times are in seconds from the moment
// at which the notices became readable.
const (
	figureCordoned       = "nodes_cordoned"
	figureCordonP50      = "cordon_p50_s"
	figureCordonLast     = "cordon_last_s"
	figurePods           = "pods"
	figureTold           = "told"
	figureToldRatio      = "sigterm_before_deadline_ratio"
	figureExited         = "exited"
	figureExitedRatio    = "exited_ratio"
	figureKilled         = "killed"
	figureLost           = "lost"
	figureLostThoughFits = "lost_though_grace_fits"
	figureGraceShort     = "ended_with_less_grace_than_possible"
	figureGraceRatio     = "grace_given_ratio"
	figureFirstEviction  = "first_eviction_s"
	figureLastEviction   = "last_eviction_s"
	figureDrained        = "drained_s"
	figureRequests       = "requests"
	figureRequestsPerPod = "requests_per_pod"
	figureEvents         = "events"
	figureRefused        = "evictions_refused_429"
	figureConflicts      = "evictions_conflicting_409"
	figureThrottled      = "throttled_429"
	figureUnavailable    = "unavailable_s"
	figureLeastReady     = "least_ready"
	figureLeastEndpoints = "least_ready_endpoints"
	figurePastBudget     = "past_budget"
	figureFailures       = "drains_failed"
	figureObserved       = "observed_s"

	figureRuns        = "runs"
	figureP50         = "p50_s"
	figureP99         = "p99_s"
	figurePolls       = "metadata_requests_per_s"
	figurePollsPeak   = "metadata_requests_per_s_peak"
	figureOpenPeak    = "open_requests_per_path_peak"
	figureAPIRequests = "api_requests"
	figureResident    = "resident_mib"
	figureAnonymous   = "anonymous_mib"
	figureCPU         = "cpu_ms_per_s"
)

// meaning is what a figure says. Tables have the figures in the order of meanings, and
// then of placementMeanings.
type meaning struct{ name, help string }

var meanings = []meaning{
	{figureCordoned, "nodes that got notice and were seen cordoned"},
	{figureCordonP50, "notice to cordon, of half of these"},
	{figureCordonLast, "notice to the last cordon; absent if a node was never cordoned"},
	{figurePods, "pods on the nodes that got notice; the figures below are about these"},
	{figureTold, "pods that got SIGTERM before their machine died"},
	{figureToldRatio, "told / pods"},
	{figureExited, "pods that ended by themselves"},
	{figureExitedRatio, "exited / pods"},
	{figureKilled, "pods that were told and used up their grace"},
	{figureLost, "pods that still ran when their machine died"},
	{figureLostThoughFits, "of the lost: those whose own grace fits into the notice"},
	{figureGraceShort, "killed or lost pods that had less time after SIGTERM than a prompt handler could have given"},
	{figureGraceRatio, "time that pods had after SIGTERM / time that a prompt handler could have given"},
	{figureFirstEviction, "notice to the first SIGTERM"},
	{figureLastEviction, "notice to the last SIGTERM"},
	{figureDrained, "notice to the end of the last pod; absent if one was lost"},
	{figureRequests, "requests to the API server since the notice, Events apart"},
	{figureRequestsPerPod, "requests / pods"},
	{figureEvents, "requests that record an Event"},
	{figureRefused, "evictions answered with 429: by a closed budget, or by an API server that has too much to do"},
	{figureConflicts, "evictions that lost a race for a budget or met another pod"},
	{figureThrottled, "other requests answered with 429: by an API server that has too much to do"},
	{figureUnavailable, "integral of the ready pods that lack to what the budgets ask for, over all workloads"},
	{figureLeastReady, "fewest ready pods of any workload at any moment"},
	{figureLeastEndpoints, "fewest ready endpoints of any Service at any moment, on machines that live"},
	{figurePastBudget, "pods deleted, or lost untold, while their budget allowed no disruption"},
	{figureFailures, "calls of RunNodeDrain or RunCordonOrUncordon that returned an error"},
	{figureObserved, "when the trial ended"},
	{figureRuns, ""},
	{figureP50, ""},
	{figureP99, ""},
	{figureAPIRequests, ""},
	{figureResident, ""},
	{figureAnonymous, ""},
	{figureCPU, ""},
	{figurePolls, ""},
	{figurePollsPeak, ""}, // of any minute
	{figureOpenPeak, ""},
}

// round keeps three decimals: more would not be true.
func round(value float64) float64 { return math.Round(value*1000) / 1000 }

// results has the figures by scenario and contender.
type results map[string]map[string]Figures

func (r results) put(scenario, contender string, figures Figures) {
	if r[scenario] == nil {
		r[scenario] = map[string]Figures{}
	}
	r[scenario][contender] = figures
}

// machine is where and with what the figures were measured.
type machine struct {
	Cores       int     `json:"cores"`
	System      string  `json:"system"`
	Go          string  `json:"go"`
	Kubernetes  string  `json:"kubernetes"`
	Kubectl     string  `json:"kubectl"` // the library's version
	Ebbtide     string  `json:"ebbtide"`
	Date        string  `json:"date"` // RFC 3339
	TookSeconds float64 `json:"tookSeconds"`
}

func newMachine() machine {
	m := machine{
		Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		Date: time.Now().UTC().Format(time.RFC3339),
	}
	if built, has := debug.ReadBuildInfo(); has {
		for _, module := range built.Deps {
			if module.Path == kubectlModule {
				m.Kubectl = module.Version
			}
		}
	}
	return m
}

// kubectlModule holds the library that Ebbtide is compared with.
const kubectlModule = "k8s.io/kubectl"

// write writes the figures as JSON: an object for each scenario with one for each
// contender, and the machine beside them.
func (r results) write(path string, m machine) error {
	whole := map[string]any{"machine": m}
	for scenario, figures := range r {
		whole[scenario] = figures
	}
	text, err := json.MarshalIndent(whole, "", "  ")
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

// print shows a scenario: a line for each figure, a column for each contender.
func (r results) print(to io.Writer, key, title string) {
	known := slices.Concat(contenderNames(), wayNames())
	contenders := slices.SortedFunc(maps.Keys(r[key]), func(a, b string) int {
		return slices.Index(known, a) - slices.Index(known, b)
	})
	_, _ = fmt.Fprintf(to, "\n%s: %s\n", key, title)
	columns := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, name := range contenders {
		_, _ = fmt.Fprintf(columns, "\t%s", name)
	}
	_, _ = fmt.Fprintln(columns, "\t")
	for _, m := range slices.Concat(meanings, placementMeanings) {
		line, has := m.name, false
		for _, name := range contenders {
			cell := "-"
			if value, measured := r[key][name][m.name]; measured {
				cell, has = strconv.FormatFloat(value, 'f', -1, 64), true
			}
			line += "\t" + cell
		}
		if has {
			_, _ = fmt.Fprintln(columns, line+"\t")
		}
	}
	_ = columns.Flush()
}
