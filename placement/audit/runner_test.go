package audit

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// still is a cluster in which nothing changes.
type still struct{ view View }

func (s still) View(context.Context) (View, error) { return s.view, nil }

// inVain is a cluster in which a pod waits in vain, and has for long enough.
func inVain(t *testing.T) still {
	t.Helper()
	return still{View{
		Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", "{match: {podSelector: {matchLabels: {app: dns}}}}")},
		Nodes:    []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", full)},
		Pods:     []*corev1.Pod{waiting(t, "dns-1", dnsOwner, time.Hour)},
	}}
}

func TestItIsToldOnceThatOthersThanBeforeWaitInVain(t *testing.T) {
	t.Parallel()
	var told [][]string
	runner := &Runner{Cluster: inVain(t), Metrics: NewMetrics(prometheus.NewRegistry()), Now: func() time.Time { return noon }}
	runner.OnPending = func() {
		var names []string
		for _, uid := range runner.LatelyPending() {
			names = append(names, string(uid))
		}
		told = append(told, names)
	}
	for range 3 {
		if _, err := runner.auditOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != 1 || !slices.Equal(told[0], []string{"dns"}) {
		t.Errorf("told of %q, want once of dns", told)
	}
}

// Where an admission policy places the pods, the next would be required the same.
func TestPodsAreLeftWaitingWhereItIsInVainToDeleteThem(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	runner := &Runner{Cluster: inVain(t), Metrics: NewMetrics(registry), Rendered: true, Now: func() time.Time { return noon }}
	var found Findings
	for range 2 {
		var err error
		if found, err = runner.auditOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(found.Readmit) == 0 {
		t.Fatal("nothing is found that could be left")
	}
	// Without a client a deletion would panic.
	found.Policies = nil
	runner.act(t.Context(), found)
	for _, outcome := range []string{deleted, changed, failed} {
		if n := placementtest.Metric(t, registry, "ebbtide_placement_readmissions_total", outcome); n != 0 {
			t.Errorf("%v readmissions are %s", n, outcome)
		}
	}
}

func TestARunnerRescuesNothingInItsOwnNamespace(t *testing.T) {
	t.Parallel()
	cluster := still{View{
		Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", rescuing)},
		Nodes:    []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", steady)},
		Pods:     []*corev1.Pod{running(t, "a", "spot-1")},
	}}
	cluster.view.Pods[0].Namespace = "ebbtide"
	for own, want := range map[string]bool{"": true, "elsewhere": true, "ebbtide": false} {
		runner := &Runner{Cluster: cluster, OwnNamespace: own, Metrics: NewMetrics(prometheus.NewRegistry())}
		found, err := runner.auditOnce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := found.Rescue != nil; got != want {
			t.Errorf("with its own namespace %q a rescue of a pod in ebbtide is begun: %t, want %t", own, got, want)
		}
	}
}
