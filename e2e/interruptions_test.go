package e2e

import (
	"context"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/placementrun"
	"github.com/ebbtide/ebbtide/placement/interruptions"
)

// tellers are replicas of placement, of which the one that leads counts interruptions.
type tellers struct {
	*scene
	installed *placementrun.Installation
	replicas  []*placementrun.Replica
	// ended is what those have counted that run no more.
	ended map[string]float64
}

// newTellers installs placement in a control plane of its own.
func newTellers(s *scene, names ...string) *tellers {
	s.t.Helper()
	installed, err := placementrun.Install(s.t.Context(), s.lab, placementrun.InstallOptions{})
	s.must(err)
	s.t.Cleanup(func() {
		if err := installed.Front.Close(); err != nil {
			s.t.Error(err)
		}
	})
	p := &tellers{scene: s, installed: installed, ended: map[string]float64{}}
	for _, name := range names {
		r := installed.Run(s.t, placementrun.Options{Instance: name, Config: map[string]any{"webhook": map[string]any{"linger": "1s"}}})
		s.must(r.Ready(s.within(time.Minute)))
		p.replicas = append(p.replicas, r)
	}
	p.until("somebody counts", "ebbtide_interruptions_watched", 1)
	return p
}

// counted is what all replicas have counted, by the names of the series.
func (p *tellers) counted(ctx context.Context) map[string]float64 {
	p.t.Helper()
	sum := maps.Clone(p.ended)
	for _, r := range p.replicas {
		series, err := r.Metrics(ctx)
		p.must(err)
		for name, value := range series {
			sum[name] += value
		}
	}
	return sum
}

// until waits for the sum of a series.
func (p *tellers) until(what, series string, want float64) {
	p.t.Helper()
	var got float64
	err := wait.PollUntilContextTimeout(p.t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		got = p.counted(ctx)[series]
		return got == want, nil
	})
	if err != nil {
		p.t.Fatalf("waiting until %s: %s is %v, want %v", what, series, got, want)
	}
}

// loseLeader ends the replica that counts; another one goes on.
func (p *tellers) loseLeader() {
	p.t.Helper()
	for i, r := range p.replicas {
		series, err := r.Metrics(p.t.Context())
		p.must(err)
		if series["ebbtide_interruptions_watched"] != 1 {
			continue
		}
		delete(series, "ebbtide_interruptions_watched")
		p.ended = series
		p.replicas = append(p.replicas[:i:i], p.replicas[i+1:]...)
		p.must(r.Terminate())
		_, err = r.Wait(p.within(30 * time.Second))
		p.must(err)
		p.until("another replica counts", "ebbtide_interruptions_watched", 1)
		return
	}
	p.t.Fatal("no replica counts")
}

// A drill comes first, which nobody counts, and the leader changes in the middle of the
// drain.
func TestPlacementCountsWhatTheAgentCounts(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.New(t))
	p := newTellers(s, "replica-1", "replica-2")
	a, socket := s.drillable()
	if drilled := s.answer(s.order(socket, "--notice", "10s")); drilled.ExitCode != 0 {
		t.Fatalf("the drill ended with %d: %s%s", drilled.ExitCode, drilled.Stdout, drilled.Stderr)
	}
	s.run(5, pods{name: "web", replicas: 2}.manifest(s),
		// A pod of nobody's cannot be handed over.
		pods{name: "stuck", kind: "Pod", grace: 4 * time.Second}.manifest(s), budget("stuck", "stuck", "minAvailable", "1"),
		pods{name: "single", replicas: 1, asks: drain.HandOverAnnotation + ": Always"}.manifest(s),
		pods{name: "long", replicas: 1, grace: 5 * time.Minute}.manifest(s))
	s.interrupt(40 * time.Second)
	p.until("the interruption counts", `ebbtide_interruptions_total{kind="SpotInterruption"}`, 1)
	p.loseLeader()
	if told := s.report(a, 45*time.Second); !told.Complete() {
		t.Fatalf("the drain was not complete: %+v", told.Pods)
	}

	agents, err := a.Metrics(t.Context())
	s.must(err)
	want := map[string]float64{
		`ebbtide_interruptions_total{kind="SpotInterruption"}`:     agents[`ebbtide_notices_total{kind="SpotInterruption", source="aws-spot"}`],
		`ebbtide_interruptions_total{kind="Unknown"}`:              0,
		`ebbtide_interruptions_drains_total{outcome="Drained"}`:    agents[`ebbtide_drains_total{outcome="Drained"}`],
		`ebbtide_interruptions_drains_total{outcome="Incomplete"}`: agents[`ebbtide_drains_total{outcome="Incomplete"}`],
		`ebbtide_interruptions_drains_total{outcome="Unreported"}`: 0,
		`ebbtide_interruptions_pods_total{path="Evicted"}`:         agents[`ebbtide_pods_total{path="Evicted"}`] + agents[`ebbtide_pods_total{path="Clamped"}`],
		`ebbtide_interruptions_pods_total{path="HandedOver"}`:      agents[`ebbtide_pods_total{path="HandedOver"}`],
		`ebbtide_interruptions_pods_total{path="Forced"}`:          agents[`ebbtide_pods_total{path="Forced"}`],
		`ebbtide_interruptions_graces_shortened_total`:             agents[`ebbtide_pod_graces_total{grace="Shortened"}`],
	}
	for series, value := range want {
		p.until("placement counts what the agent does", series, value)
	}
	// The agent's own count has to be of something.
	if got := []float64{
		want[`ebbtide_interruptions_total{kind="SpotInterruption"}`], want[`ebbtide_interruptions_drains_total{outcome="Drained"}`],
		want[`ebbtide_interruptions_pods_total{path="Evicted"}`], want[`ebbtide_interruptions_pods_total{path="HandedOver"}`],
		want[`ebbtide_interruptions_pods_total{path="Forced"}`], want[`ebbtide_interruptions_graces_shortened_total`],
	}; !cmp.Equal(got, []float64{1, 1, 3, 1, 1, 1}) {
		t.Errorf("the agent counts %v", got)
	}
	// The machine dies, and its node goes: what was counted stays.
	s.must(s.doomed.Remove(t.Context()))
	p.until("the drain still counts", `ebbtide_interruptions_drains_total{outcome="Drained"}`, 1)
}

// Without the API server a leader loses its lease, and leads again when it is back, for
// there is nobody else. What is told before that counts as well.
func TestPlacementMissesNothingWhileTheAPIServerIsAway(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.New(t))
	p := newTellers(s, "replica-1")
	s.run(2, pods{name: "web", replicas: 2, grace: 40 * time.Second, exits: 20 * time.Second}.manifest(s))
	a := s.ready()
	s.interrupt(90 * time.Second)
	p.until("the interruption counts", `ebbtide_interruptions_total{kind="SpotInterruption"}`, 1)
	s.must(s.lab.Pause(lab.APIServer))
	_, err := p.replicas[0].WaitLog(s.within(30*time.Second), "Ceased to lead")
	s.must(err)
	s.must(s.lab.Resume(lab.APIServer))
	s.must(wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := s.lab.Client().EventsV1().Events(s.namespace).Create(ctx, &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "told-at-once", Namespace: s.namespace}, EventTime: metav1.NowMicro(),
			ReportingController: "ebbtide.dev/agent", ReportingInstance: "elsewhere", Reason: report.ForcedPastBudget,
			Action: "DeletePod", Type: corev1.EventTypeWarning,
			Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: s.namespace, Name: "somebody"}, Note: "Deleted (notice n)",
		}, metav1.CreateOptions{})
		return err == nil || apierrors.IsAlreadyExists(err), nil
	}))
	p.until("it leads again", "ebbtide_interruptions_watched", 1)
	s.report(a, 90*time.Second)
	p.until("what was told at once counts", `ebbtide_interruptions_pods_total{path="Forced"}`, 1)
	p.until("the drain counts", `ebbtide_interruptions_drains_total{outcome="Drained"}`, 1)
	p.until("its pods count", `ebbtide_interruptions_pods_total{path="Evicted"}`, 2)
	p.until("the interruption counts once", `ebbtide_interruptions_total{kind="SpotInterruption"}`, 1)
}

// The agent may write no Events, and so says of its drain as little as one that went
// under with the machine.
func TestPlacementCountsADrainOfWhichTheAgentSaysNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.New(t))
	p := newTellers(s, "replica-1")
	silent := "silent"
	kubeconfig, err := s.lab.ServiceAccount(t.Context(), s.namespace, silent, drain.PolicyRules())
	s.must(err)
	s.kubeconfig, s.user = kubeconfig, lab.ServiceAccountUser(s.namespace, silent)
	a := s.ready()
	s.interrupt(30 * time.Second)
	s.report(a, 35*time.Second)
	p.until("the interruption counts", `ebbtide_interruptions_total{kind="SpotInterruption"}`, 1)
	s.must(a.Kill())
	s.must(s.doomed.Remove(t.Context()))
	p.until("the drain counts", `ebbtide_interruptions_drains_total{outcome="Unreported"}`, 1)
	if _, err := p.replicas[0].WaitRecord(s.within(10*time.Second), func(r placementrun.Record) bool {
		return r.Message == "Heard of no end of drain" && r.Text("node") == s.doomed.Name()
	}); err != nil {
		t.Error(err)
	}
}

// The two programs share no code but package drain: what one writes and the other reads
// is held together here.
func TestPlacementKnowsTheAgentsWords(t *testing.T) {
	t.Parallel()
	words := map[string]struct{ about, value string }{
		report.NodeDrained:            {"Node", interruptions.Drained},
		report.DrainIncomplete:        {"Node", interruptions.Incomplete},
		report.EvictedForInterruption: {"Pod", string(drain.Evicted)},
		report.HandedOver:             {"Pod", string(drain.HandedOver)},
		report.ForcedPastBudget:       {"Pod", string(drain.Forced)},
		report.GraceShortened:         {"Pod", ""},
	}
	for reason, want := range words {
		event := &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{UID: "uid"}, ReportingController: "ebbtide.dev/agent", Reason: reason,
			Regarding: corev1.ObjectReference{Kind: want.about, Name: "a"}, Note: "Told (notice n)",
		}
		facts := new(interruptions.Memory).Event(event)
		if len(facts) != 1 || facts[0].Value != want.value {
			t.Errorf("by the Event %s it counts %+v, want %q", reason, facts, want.value)
		}
	}
	carrying := func(kind agent.Kind) []*corev1.Node {
		state, err := json.Marshal(drain.State{Notice: "n", Kind: string(kind)})
		if err != nil {
			t.Fatal(err)
		}
		return []*corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{drain.StateAnnotation: string(state)}}}}
	}
	for _, kind := range []agent.Kind{
		agent.SpotInterruption, agent.RebalanceAdvice, agent.Maintenance, agent.ScaleIn, agent.NodeShutdown, agent.ClusterDisruption,
	} {
		var memory interruptions.Memory
		memory.Nodes(time.Now(), nil)
		if facts := memory.Nodes(time.Now(), carrying(kind)); len(facts) != 1 || facts[0].Value != string(kind) {
			t.Errorf("of a node under a notice of the kind %s it counts %+v", kind, facts)
		}
	}
	var memory interruptions.Memory
	memory.Nodes(time.Now(), nil)
	if facts := memory.Nodes(time.Now(), carrying(agent.Drill)); len(facts) != 0 {
		t.Errorf("of a drill it counts %+v", facts)
	}
}
