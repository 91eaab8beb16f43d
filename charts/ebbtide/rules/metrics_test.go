package rules_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// page is held to what the programs serve by their own tests.
const page = "../../../docs/metrics.md"

// metric is what the page says of one: its kind, and its labels with their values; a
// label without values may have any.
type metric struct {
	kind   string
	labels map[string][]string
}

// target holds the labels that a scrape adds to every series.
var target = []string{"instance", "job", "namespace", "pod"}

var (
	row      = regexp.MustCompile("(?m)^\\| `(ebbtide_[a-z_]+)` \\| ([a-z]+) \\| (.*?) \\| .* \\|$")
	quoted   = regexp.MustCompile("`([^`]+)`")
	selector = regexp.MustCompile(`\b(ebbtide_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
)

// documented returns the metrics of the page.
func documented(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]metric{}
	for _, cells := range row.FindAllStringSubmatch(string(text), -1) {
		labels := map[string][]string{}
		for part := range strings.SplitSeq(cells[3], "; ") {
			name, values, _ := strings.Cut(part, ":")
			if parts := quoted.FindStringSubmatch(name); parts != nil {
				labels[parts[1]] = nil
				for _, value := range quoted.FindAllStringSubmatch(values, -1) {
					labels[parts[1]] = append(labels[parts[1]], value[1])
				}
			}
		}
		all[cells[1]] = metric{cells[2], labels}
	}
	// The one that has no series without a policy is described below the table.
	const pods = "ebbtide_placement_pods"
	if len(all) == 0 || !strings.Contains(string(text), "`"+pods+"`, by `policy` and by `where`\n(`LongLived`, `OnSpot`, `Pending`)") {
		t.Fatalf("docs/metrics.md has %d metrics in tables, and %s is not where it was", len(all), pods)
	}
	all[pods] = metric{"gauge", map[string][]string{"policy": nil, "where": {"LongLived", "OnSpot", "Pending"}}}
	return all
}

// strangers says what a query asks for that no program serves: a metric, a label or a
// value of one.
func strangers(query string, known map[string]metric) []string {
	var found []string
	for _, parts := range selector.FindAllStringSubmatch(query, -1) {
		name := parts[1]
		m, is := known[name]
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if base, cut := strings.CutSuffix(name, suffix); cut && !is {
				m, is = known[base]
				is = is && m.kind == "histogram"
			}
		}
		if !is {
			found = append(found, name)
			continue
		}
		for _, match := range matcher.FindAllStringSubmatch(parts[2], -1) {
			found = append(found, m.strangers(name, match[1], match[2], match[3])...)
		}
	}
	return found
}

func (m metric) strangers(name, label, operator, value string) []string {
	known, is := m.labels[label]
	if !is && !slices.Contains(target, label) {
		return []string{fmt.Sprintf("%s has no label %q", name, label)}
	}
	if known == nil {
		return nil
	}
	values := []string{value}
	if operator == "=~" || operator == "!~" {
		values = strings.Split(value, "|")
	}
	var found []string
	for _, value := range values {
		if !slices.Contains(known, value) {
			found = append(found, fmt.Sprintf("%s has no %s %q", name, label, value))
		}
	}
	return found
}

func TestAlertsRunbooksAndDashboardAskForWhatIsServed(t *testing.T) {
	t.Parallel()
	known := documented(t)
	asked := map[string][]string{}
	for _, alert := range alerts(t) {
		asked[alert.Alert] = []string{alert.Expr}
	}
	for _, p := range dashboard(t).Panels {
		for _, target := range p.Targets {
			asked["the panel "+p.Title] = append(asked["the panel "+p.Title], target.Expr)
		}
	}
	pages, err := filepath.Glob(filepath.Join(runbooks, "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("reading docs/runbooks: %d pages, %v", len(pages), err)
	}
	for _, path := range pages {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		asked[filepath.Base(path)] = []string{string(text)}
	}
	for who, queries := range asked {
		for _, query := range queries {
			for _, stranger := range strangers(query, known) {
				t.Errorf("%s asks for what is not served: %s", who, stranger)
			}
		}
	}
}

// The rule above is only worth something if it can fail.
func TestWhatIsNotServedIsFound(t *testing.T) {
	t.Parallel()
	known := map[string]metric{
		"ebbtide_waves_total":  {"counter", map[string][]string{"height": {"High", "Low"}, "shore": nil}},
		"ebbtide_tide_seconds": {"histogram", nil},
	}
	for query, want := range map[string]int{
		`sum by (height) (rate(ebbtide_waves_total{height="High", shore="any", pod!=""}[5m]))`: 0,
		`rate(ebbtide_tide_seconds_bucket[5m]) / rate(ebbtide_tide_seconds_count[5m])`:         0,
		`ebbtide_wave_total`:                                   1,
		`ebbtide_waves_total_bucket`:                           1,
		`ebbtide_waves_total{depth="High"}`:                    1,
		`ebbtide_waves_total{height="Higher"}`:                 1,
		`ebbtide_waves_total{height=~"Higher|High|Lower"}`:     2,
		`ebbtide_waves_total{height!~"High"} - ebbtide_ripple`: 1,
	} {
		if found := strangers(query, known); len(found) != want {
			t.Errorf("in %s it finds %q, want %d", query, found, want)
		}
	}
}

// board is what is looked at of a dashboard.
type board struct {
	UID    string  `json:"uid"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Place       struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

func dashboard(t *testing.T) board {
	t.Helper()
	text, err := os.ReadFile("../dashboards/ebbtide.json")
	if err != nil {
		t.Fatal(err)
	}
	var b board
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatalf("reading the dashboard: %v", err)
	}
	if len(b.Panels) == 0 {
		t.Fatal("the dashboard has no panels")
	}
	return b
}

// A dashboard that Grafana would rearrange, or whose panels nobody can explain, was
// edited by hand and not looked at.
func TestTheDashboardIsWhole(t *testing.T) {
	t.Parallel()
	const columns = 24
	b := dashboard(t)
	ids, taken := map[int]string{}, map[[2]int]string{}
	for _, p := range b.Panels {
		if other, is := ids[p.ID]; is {
			t.Errorf("%q and %q have the id %d", other, p.Title, p.ID)
		}
		ids[p.ID] = p.Title
		if p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("%q has the description %q and %d queries", p.Title, p.Description, len(p.Targets))
		}
		if p.Place.W < 1 || p.Place.H < 1 || p.Place.X+p.Place.W > columns {
			t.Errorf("%q is at %+v, want it within %d columns", p.Title, p.Place, columns)
		}
		for x := range p.Place.W {
			for y := range p.Place.H {
				at := [2]int{p.Place.X + x, p.Place.Y + y}
				if other, is := taken[at]; is {
					t.Fatalf("%q lies over %q", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
	}
	if b.UID != "ebbtide" {
		t.Errorf("its uid is %q; links to it would break", b.UID)
	}
}
