// Package rules_test holds the alerts, their runbooks and the dashboard to one another,
// to the metrics that the programs serve, and to what the chart renders. That the alerts
// fire when they should is tested by promtool (make rules).
package rules_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/chart"
)

const runbooks = "../../../docs/runbooks"

// group is a group of rules, as in a file of Prometheus.
type group struct {
	Name  string `json:"name"`
	Rules []rule `json:"rules"`
}

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// read reads a YAML file that may have no other fields than into has.
func read(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("reading %q: %v", path, err)
	}
}

// groups are the groups of both files, those of the agent first.
func groups(t *testing.T) []group {
	t.Helper()
	var all []group
	for _, path := range []string{"agent.yaml", "placement.yaml"} {
		var file struct {
			Groups []group `json:"groups"`
		}
		read(t, path, &file)
		all = append(all, file.Groups...)
	}
	return all
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, group := range groups(t) {
		all = append(all, group.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no alerts")
	}
	return all
}

func TestEveryAlertSaysWhatHasHappenedAndWhereToReadOn(t *testing.T) {
	t.Parallel()
	severities := []string{"critical", "warning", "info"}
	for _, alert := range alerts(t) {
		if !strings.HasPrefix(alert.Alert, "Ebbtide") || !slices.Contains(severities, alert.Labels["severity"]) {
			t.Errorf("%s has the severity %q, want one of %q", alert.Alert, alert.Labels["severity"], severities)
		}
		for _, name := range []string{"summary", "description"} {
			if text := alert.Annotations[name]; !strings.HasSuffix(text, ".") {
				t.Errorf("the %s of %s is %q, want a sentence", name, alert.Alert, text)
			}
		}
		want := "https://github.com/ebbtide/ebbtide/blob/main/docs/runbooks/" + alert.Alert + ".md"
		if got := alert.Annotations["runbook_url"]; got != want {
			t.Errorf("the runbook of %s is %q, want %q", alert.Alert, got, want)
		}
	}
}

func TestEveryAlertHasARunbookAndEveryRunbookAnAlert(t *testing.T) {
	t.Parallel()
	var want []string
	for _, alert := range alerts(t) {
		want = append(want, alert.Alert+".md")
	}
	entries, err := os.ReadDir(runbooks)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("runbooks (-of the alerts +in docs/runbooks):\n%s", diff)
	}
	for _, name := range got {
		text, err := os.ReadFile(filepath.Join(runbooks, name))
		if err != nil {
			t.Fatal(err)
		}
		headings := []string{"# " + strings.TrimSuffix(name, ".md"), "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"}
		if diff := cmp.Diff(headings, headed(string(text))); diff != "" {
			t.Errorf("the headings of %s (-want +got):\n%s", name, diff)
		}
	}
}

// headed returns the headings of a page that have something under them, and the title.
func headed(page string) []string {
	lines := strings.Split(page, "\n")
	var found []string
	for i, line := range lines {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		rest := strings.TrimSpace(strings.Join(lines[i+1:], "\n"))
		if rest != "" && (!strings.HasPrefix(rest, "#") || i == 0) {
			found = append(found, line)
		}
	}
	return found
}

// story is one of promtool's tests, as far as it is looked at here.
type story struct {
	Alerts []struct {
		Name string `json:"alertname"`
		Want []any  `json:"exp_alerts"`
	} `json:"alert_rule_test"`
}

// Of each alert a test has the whole text once, and says once that it does not fire.
func TestEveryAlertIsSeenToFireAndNotToFire(t *testing.T) {
	t.Parallel()
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, path := range []string{"tests/agent.yaml", "tests/placement.yaml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Tests []story `json:"tests"`
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatalf("reading %q: %v", path, err)
		}
		for _, test := range file.Tests {
			for _, alert := range test.Alerts {
				fires[alert.Name] = fires[alert.Name] || len(alert.Want) > 0
				rests[alert.Name] = rests[alert.Name] || len(alert.Want) == 0
			}
		}
	}
	for _, alert := range alerts(t) {
		if !fires[alert.Alert] || !rests[alert.Alert] {
			t.Errorf("%s: a test has it fire: %v; one has it not fire: %v", alert.Alert, fires[alert.Alert], rests[alert.Alert])
		}
	}
}

// The chart takes the rules apart to leave some out and to add labels: by default
// nothing may be lost on the way.
func TestTheChartRendersTheRulesThatAreTested(t *testing.T) {
	t.Parallel()
	objects, err := chart.Render(t.Context(), chart.Options{Values: map[string]any{
		"monitoring": map[string]any{"prometheusRule": map[string]any{"enabled": true}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	rendered := objects.Of("PrometheusRule")
	if len(rendered) != 1 {
		t.Fatalf("the chart renders %d PrometheusRules, want one", len(rendered))
	}
	text, err := yaml.Marshal(rendered[0].Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Groups []group `json:"groups"`
	}
	if err := yaml.UnmarshalStrict(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(groups(t), got.Groups); diff != "" {
		t.Errorf("rules (-file +rendered):\n%s", diff)
	}
}
