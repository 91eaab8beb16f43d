package agent

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

// tally is what is counted of the drains and pods of an agent, without what is at zero.
func tally(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	all, got := series(t, registry), map[string]float64{}
	keep := func(key, name string) {
		if value := all[name]; value > 0 {
			got[key] = value
		}
	}
	for _, path := range drain.Paths {
		keep(string(path), `ebbtide_pods_total{path="`+string(path)+`"}`)
	}
	for _, outcome := range []string{drained, incomplete} {
		keep("drain "+outcome, `ebbtide_drains_total{outcome="`+outcome+`"}`)
	}
	for _, grace := range []string{fullGrace, shortenedGrace, noGrace} {
		keep("grace "+grace, `ebbtide_pod_graces_total{grace="`+grace+`"}`)
	}
	return got
}

// The pods want thirty seconds, the reserve is five: their latest moment is 35 s before
// the end.
func TestOutcomesAreCountedAsSoonAsTheyAreCertain(t *testing.T) {
	t.Parallel()
	const (
		latest  = endsAt - 35*time.Second
		reserve = endsAt - 5*time.Second
	)
	type look struct {
		at   time.Duration
		want map[string]float64
	}
	cases := map[string]struct {
		pods  []*corev1.Pod
		setUp func(*scene)
		looks []look
	}{
		"a pod that is evicted counts while others are still there": {
			[]*corev1.Pod{newPod("open"), newPod("stuck")},
			func(s *scene) { s.node.closed["stuck"] = true },
			[]look{
				{seenAt + time.Second, map[string]float64{"Evicted": 1, "grace Full": 1}},
				{endsAt, map[string]float64{"Evicted": 1, "Forced": 1, "grace Full": 2, "drain Drained": 1}},
			},
		},
		"a pod whose budget stays closed counts as forced when it is forced": {
			[]*corev1.Pod{newPod("stuck")},
			func(s *scene) { s.node.closed["stuck"] = true },
			[]look{
				{latest - time.Millisecond, map[string]float64{}},
				{latest + stopsAfter/2, map[string]float64{"Forced": 1, "grace Full": 1}},
				{endsAt, map[string]float64{"Forced": 1, "grace Full": 1, "drain Drained": 1}},
			},
		},
		"a pod that cannot be told is lost when the reserve begins": {
			[]*corev1.Pod{newPod("unreachable")},
			func(s *scene) { s.node.breakDown(errBroken, evict, remove) },
			[]look{
				{reserve - time.Millisecond, map[string]float64{}},
				{reserve, map[string]float64{"Lost": 1, "grace None": 1, "drain Incomplete": 1}},
				{endsAt + time.Second, map[string]float64{"Lost": 1, "grace None": 1, "drain Incomplete": 1}},
			},
		},
		"a pod that is told in the reserve was lost before": {
			[]*corev1.Pod{newPod("late")},
			func(s *scene) {
				s.node.breakDown(errBroken, evict, remove)
				time.AfterFunc(reserve+100*time.Millisecond, func() { s.node.breakDown(nil) })
			},
			[]look{
				{reserve, map[string]float64{"Lost": 1, "grace None": 1, "drain Incomplete": 1}},
				{endsAt + time.Second, map[string]float64{"Lost": 1, "grace None": 1, "drain Incomplete": 1}},
			},
		},
		"a pod that cannot be told is lost sooner when the deadline is tightened": {
			[]*corev1.Pod{newPod("unreachable")},
			func(s *scene) {
				s.node.breakDown(errBroken, evict, remove)
				s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
					switch {
					case at < seenAt:
						return nil, nil
					case at < seenAt+30*time.Second:
						return []Sighting{s.endsAt(endsAt)}, nil
					}
					return []Sighting{s.endsAt(endsAt - 30*time.Second)}, nil
				}
			},
			[]look{
				{reserve - 30*time.Second - time.Second, map[string]float64{}},
				{reserve - 30*time.Second + time.Second, map[string]float64{"Lost": 1, "grace None": 1, "drain Incomplete": 1}},
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, c.pods, func(s *scene) {
				registry := prometheus.NewRegistry()
				s.agent.Metrics = NewMetrics(registry, s.agent.Sources)
				s.says(fromThenOn)
				c.setUp(s)
				s.begin()
				for _, look := range c.looks {
					s.at(look.at)
					if diff := cmp.Diff(look.want, tally(s.T, registry)); diff != "" {
						s.Errorf("counted at %v (-want +got):\n%s", look.at, diff)
					}
				}
			})
		})
	}
}

func TestAPodThatWasToldAndIsLeftBehindCountsAsBoth(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	pod := drain.PodOutcome{
		PodRef: drain.PodRef{UID: "uid"}, Path: drain.Forced, ToldAt: at(85), GraceWanted: 30, GraceGiven: 30,
	}
	report := drain.Report{Plan: drain.Plan{Deadline: at(120), Moves: make([]drain.Move, 1)}, Ended: at(118.75)}
	count := NewMetrics(registry, nil).begin(Notice{FirstSeen: noon, Deadline: at(120)})

	count.observe(pod)
	if diff := cmp.Diff(map[string]float64{"Forced": 1, "grace Full": 1}, tally(t, registry)); diff != "" {
		t.Errorf("counted when it was told (-want +got):\n%s", diff)
	}
	count.timeIsUp([]drain.Move{{PodRef: pod.PodRef, Action: drain.Evict}})
	pod.Path = drain.Lost
	count.observe(pod)
	report.Pods = []drain.PodOutcome{pod}
	count.reported(report)
	want := map[string]float64{"Forced": 1, "Lost": 1, "grace Full": 1, "drain Incomplete": 1}
	if diff := cmp.Diff(want, tally(t, registry)); diff != "" {
		t.Errorf("counted at the end (-want +got):\n%s", diff)
	}
}

// Others have told it to stop, and nobody here knows how long it may take.
func TestAPodThatOthersToldIsNotLostBeforeTheEnd(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	count := NewMetrics(registry, nil).begin(Notice{FirstSeen: noon, Deadline: at(120)})
	count.timeIsUp([]drain.Move{{PodRef: drain.PodRef{UID: "uid"}, Action: drain.Await}})
	if diff := cmp.Diff(map[string]float64{}, tally(t, registry)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

// A drain that could not read its pods has none to count, and is not complete.
func TestADrainWithoutAPlanIsIncomplete(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	tell(registry, drain.Report{Unread: "connection refused", Plan: drain.Plan{Deadline: at(120)}, Ended: at(118.75)})
	if diff := cmp.Diff(map[string]float64{"drain Incomplete": 1}, tally(t, registry)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}
