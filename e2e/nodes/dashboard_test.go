//go:build linux && e2e_nodes

package nodes_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dashboardFile has the answers that the dashboard was given in the last run, for whoever
// wants to see them: docs/monitoring.md shows such a run.
var dashboardFile = filepath.Join("..", "..", "out", "e2e", "dashboard.json")

// rateInterval is what Grafana puts for its variable of that name where a scrape is due
// every 15 s.
const rateInterval = "1m"

// panel is what is read of one of the dashboard's.
type panel struct {
	Title   string `json:"title"`
	Targets []struct {
		Expr   string `json:"expr"`
		Legend string `json:"legendFormat"`
	} `json:"targets"`
}

// shown is what a query of a panel has come to.
type shown struct {
	Panel, Expr, Legend string
	Series              []line
}

// line has one value for each moment at which there is one.
type line struct {
	Labels map[string]string
	At     []int64
	Values []float64
}

// idle are the metrics that nothing in the incident counts, and why. Their panels say that
// there is nothing, which is what they should say.
var idle = map[string]string{
	"ebbtide_placement_rescues_total":      "the policy of the ingress controller does not ask for rescue",
	"ebbtide_placement_readmissions_total": "every critical pod finds a node",
	"ebbtide_placement_failures_total":     "the webhook decides about every pod that it hears of",
}

// theDashboardShowsIt asks every query of the dashboard of the Prometheus that has seen
// the incident.
func (s *incident) theDashboardShowsIt(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartFolder, "dashboards", "ebbtide.json"))
	must(t, err)
	var board struct{ Panels []panel }
	must(t, json.Unmarshal(text, &board))
	var all []shown
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", rateInterval)
			answer, err := s.prometheus.since(t.Context(), expr, s.prometheus.every)
			must(t, err)
			lines := drawable(answer)
			if why := idle[counted.FindString(expr)]; (len(lines) == 0) != (why != "") {
				t.Errorf("the panel %q has %d lines for %s; if none are expected, it is because %q", panel.Title, len(lines), expr, why)
			}
			all = append(all, shown{Panel: panel.Title, Expr: target.Expr, Legend: target.Legend, Series: lines})
		}
	}
	if len(all) == 0 {
		t.Fatal("the dashboard asks for nothing")
	}
	content, err := json.Marshal(all)
	must(t, err)
	must(t, os.MkdirAll(filepath.Dir(dashboardFile), 0o750))
	must(t, os.WriteFile(dashboardFile, content, 0o600))
}

var (
	counted = regexp.MustCompile("ebbtide_[a-z_]+_total")
	promql  = regexp.MustCompile("(?s)```promql\n(.*?)```")
)

// theRunbooksAskWhatCanBeAnswered asks every query of the runbooks. What the answer is
// depends on what has happened.
func (s *incident) theRunbooksAskWhatCanBeAnswered(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "runbooks", "*.md"))
	must(t, err)
	asked := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		must(t, err)
		for _, block := range promql.FindAllStringSubmatch(string(text), -1) {
			for query := range strings.Lines(block[1]) {
				asked++
				if _, err := s.prometheus.query(t.Context(), query); err != nil {
					t.Errorf("%s: %s: %v", filepath.Base(page), strings.TrimSpace(query), err)
				}
			}
		}
	}
	if asked == 0 {
		t.Error("the runbooks ask for nothing")
	}
}

// drawable leaves out what cannot be drawn: the quantile of no observation is not a number.
func drawable(answer []series) []line {
	var lines []line
	for _, s := range answer {
		l := line{Labels: s.Metric}
		for _, point := range s.Values {
			if !math.IsNaN(point.value) && !math.IsInf(point.value, 0) {
				l.At, l.Values = append(l.At, point.at.Unix()), append(l.Values, point.value)
			}
		}
		if len(l.At) > 0 {
			lines = append(lines, l)
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return int(a.At[0] - b.At[0]) })
	return lines
}
