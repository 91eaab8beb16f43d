package agent

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

// The drills of these tests begin at drillAt and last a minute at most: a pod of the
// default grace has its latest moment 25 s after that.
const (
	drillAt   = 5 * time.Second
	drillEnds = drillAt + time.Minute
	sparedAt  = drillAt + 26*time.Second
)

var gentle = DrillOrder{Notice: time.Minute}

// drills lets an agent run up to drillAt, and orders a drill then.
func (s *scene) drills(order DrillOrder) *DrillRun {
	s.Helper()
	s.begin()
	s.at(drillAt)
	run, begun, err := s.agent.Drills.Begin(s.Context(), order)
	if err != nil || !begun {
		s.Fatalf("the drill was begun: %v, %v", begun, err)
	}
	synctest.Wait()
	return run
}

// steps are those of a drill that has ended, each kind once, in order.
func (s *scene) steps(run *DrillRun) []DrillStep {
	s.Helper()
	var steps []DrillStep
	ctx, cancel := context.WithTimeout(s.Context(), time.Nanosecond)
	defer cancel()
	for event := range run.Events(ctx) {
		if !slices.Contains(steps, event.Step) {
			steps = append(steps, event.Step)
		}
	}
	return steps
}

// isPutBack fails the test unless the node is as it was before.
func (s *scene) isPutBack() {
	s.Helper()
	if state := s.node.state(s.T); state != nil || s.node.unschedulable() {
		s.Errorf("the node carries %+v, unschedulable: %v; want it put back", state, s.node.unschedulable())
	}
}

func withStuckPod() []*corev1.Pod {
	return []*corev1.Pod{newPod("web-1"), newPod("web-2"), newPod("stuck")}
}

func TestADrillMovesWhatItMayAndPutsTheNodeBack(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		order DrillOrder
		stuck drain.Path
		over  time.Duration
	}{
		"a pod behind a closed budget stays":       {gentle, drain.Spared, sparedAt},
		"unless the drill is ordered to use force": {DrillOrder{Notice: time.Minute, Force: true}, drain.Forced, sparedAt + time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, withStuckPod(), func(s *scene) {
				registry := prometheus.NewRegistry()
				s.agent.Metrics = NewMetrics(registry, s.agent.Sources)
				s.node.closed["stuck"] = true
				run := s.drills(c.order)
				if state := s.node.state(s.T); state == nil || state.Kind != string(Drill) || !s.node.unschedulable() {
					s.Errorf("in the drill the node carries %+v, want a cordon that says so", state)
				}
				s.at(c.over)
				s.isPutBack()
				want := map[string]drain.Path{"web-1": drain.Evicted, "web-2": drain.Evicted, "stuck": c.stuck}
				if diff := cmp.Diff(want, paths(s.report())); diff != "" {
					s.Errorf("pods (-want +got):\n%s", diff)
				}
				steps := []DrillStep{DrillBegan, DrillPlanned, DrillCordoned, DrillPod, DrillReported, DrillPutBack}
				got := s.steps(run)
				slices.Sort(got)
				slices.Sort(steps)
				if diff := cmp.Diff(steps, got); diff != "" {
					s.Errorf("steps (-want +got):\n%s", diff)
				}
				outcome := incomplete
				if c.order.Force {
					outcome = drained
				}
				for name, value := range series(t, registry) {
					drill := name == `ebbtide_drills_total{outcome="`+outcome+`"}`
					if drill != (value == 1) && (drill || slices.Contains(ofDrains, name)) {
						s.Errorf("%s is %v after a drill", name, value)
					}
				}
			})
		})
	}
}

// ofDrains are series that alerts watch: no drill may move them.
var ofDrains = []string{
	`ebbtide_drains_total{outcome="Drained"}`, `ebbtide_drains_total{outcome="Incomplete"}`,
	`ebbtide_pods_total{path="Evicted"}`, `ebbtide_pods_total{path="Forced"}`, `ebbtide_pods_total{path="Spared"}`,
	`ebbtide_notices_total{kind="SpotInterruption",source="test-spot"}`, "ebbtide_node_interrupted",
}

func TestARealNoticeInTheMiddleOfADrillTakesOver(t *testing.T) {
	t.Parallel()
	const realAt = drillAt + 10*time.Second
	const realEnds = realAt + 2*time.Minute
	for name, order := range map[string]DrillOrder{
		"of a gentle one": gentle, "of one with force": {Notice: time.Minute, Force: true}, "of a dry run": {Notice: time.Minute, DryRun: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, withStuckPod(), func(s *scene) {
				s.node.closed["stuck"] = true
				s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
					if at < realAt {
						return nil, nil
					}
					return []Sighting{s.endsAt(realEnds)}, nil
				}
				run := s.drills(order)
				s.at(realAt)
				state := s.node.state(s.T)
				if state == nil || state.Kind != string(SpotInterruption) || !state.Cordoned || s.since(state.Deadline) != realEnds {
					s.Errorf("the node carries %+v, want the real notice on a cordon of ours", state)
				}
				if !order.DryRun && !slices.Contains(s.steps(run), DrillTakenOver) {
					s.Errorf("the drill ended with %v", s.steps(run))
				}
				s.at(drillEnds + time.Second)
				if state := s.node.state(s.T); state == nil || !s.node.unschedulable() {
					s.Errorf("after the end of the drill the node carries %+v", state)
				}
				s.at(realEnds)
				reports := s.told.all()
				last := reports[len(reports)-1]
				if became := paths(last)["stuck"]; became != drain.Forced || s.since(last.Plan.Deadline) != realEnds {
					s.Errorf("the stuck pod's path is %s by %v, want %s by the real deadline", became, s.since(last.Plan.Deadline), drain.Forced)
				}
			})
		})
	}
}

func TestARealNoticeWhileTheNodeIsPutBackStopsThat(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		const realAt = drillAt + 20*time.Second
		s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			if at < realAt {
				return nil, nil
			}
			return []Sighting{s.endsAt(realAt + 2*time.Minute)}, nil
		}
		run := s.drills(gentle)
		s.node.breakDown(errBroken, undo)
		s.at(realAt)
		s.node.breakDown(nil)
		s.at(realAt + time.Minute)
		if state := s.node.state(s.T); state == nil || state.Kind != string(SpotInterruption) || !s.node.unschedulable() {
			s.Errorf("the node carries %+v, want the real notice", state)
		}
		if steps := s.steps(run); slices.Contains(steps, DrillPutBack) || !slices.Contains(steps, DrillFailed) {
			s.Errorf("the drill ended with %v", steps)
		}
	})
}

func TestASecondOrderShowsTheDrillThatIsUnderWay(t *testing.T) {
	t.Parallel()
	play(t, withStuckPod(), func(s *scene) {
		s.node.closed["stuck"] = true
		if _, err := s.agent.Drills.Last(canceled()); !errors.Is(err, context.Canceled) {
			s.Errorf("before the agent runs the answer is %v", err)
		}
		first := s.drills(gentle)
		second, begun, err := s.agent.Drills.Begin(s.Context(), DrillOrder{Notice: MinDrillNotice, Force: true})
		if err != nil || begun || second != first {
			s.Errorf("a second drill was begun: %v, %v", begun, err)
		}
		s.at(drillEnds)
		if last, err := s.agent.Drills.Last(s.Context()); err != nil || last != first {
			s.Errorf("the last drill is another: %v", err)
		}
		s.report()
		third, begun, err := s.agent.Drills.Begin(s.Context(), gentle)
		if err != nil || !begun || third == first {
			s.Errorf("there is no drill after the first: %v, %v", begun, err)
		}
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestADryRunOfADrillTouchesNothing(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		run := s.drills(DrillOrder{Notice: time.Minute, DryRun: true})
		s.at(drillEnds)
		if diff := cmp.Diff([]DrillStep{DrillBegan, DrillPlanned}, s.steps(run)); diff != "" {
			s.Errorf("steps (-want +got):\n%s", diff)
		}
		if writes := s.node.times(mark, undo, evict, remove, disrupt, announce, exclude); len(writes) > 0 {
			s.Errorf("%d requests would have changed something", len(writes))
		}
		if n := len(s.told.all()); n > 0 {
			s.Errorf("%d drains were reported", n)
		}
	})
}

func TestANodeThatOthersHadCordonedStaysCordonedAfterADrill(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.node.node.Spec.Unschedulable = true
		s.drills(gentle)
		s.at(drillEnds)
		if state := s.node.state(s.T); state != nil || !s.node.unschedulable() {
			s.Errorf("the node carries %+v, unschedulable: %v", state, s.node.unschedulable())
		}
	})
}
