package agent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

// critical is a pod that leaves on an advice.
func critical(name string) *corev1.Pod {
	pod := newPod(name)
	pod.Annotations = map[string]string{drain.CriticalAnnotation: "true"}
	return pod
}

// advice is one that the cloud gave at emitted of the scene, as it is read now.
func (s *scene) advice(emitted time.Duration) Sighting {
	return Sighting{
		Kind: RebalanceAdvice, State: Advisory,
		Emitted: s.start.Add(emitted), ServerTime: time.Now().Add(-dateHalf),
	}
}

// advises lets another source give an advice in each poll that shows is true for. It was
// emitted at seenAt.
func (s *scene) advises(shows func(at time.Duration) bool) { s.advisesSince(seenAt, shows) }

func (s *scene) advisesSince(emitted time.Duration, shows func(at time.Duration) bool) {
	s.announces("rebalance", func(at time.Duration) []Sighting {
		if !shows(at) {
			return nil
		}
		return []Sighting{s.advice(emitted)}
	})
}

// isAdvised fails the test unless the node carries an advice, and no more.
func (s *scene) isAdvised(what Response) {
	s.Helper()
	state := s.node.state(s.T)
	if state == nil || state.Advice != string(what) || s.node.unschedulable() {
		s.Errorf("the node is unschedulable: %v, and carries %+v; want the advice %s alone", s.node.unschedulable(), state, what)
	}
}

func TestAnAdviceMovesTheCriticalPodsAndForcesNothing(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{newPod("web-1"), critical("dns-1"), critical("dns-2")}, func(s *scene) {
		s.node.closed["dns-2"] = true
		s.advises(fromThenOn)
		s.begin()
		s.at(seenAt + 30*time.Minute)
		s.isAdvised(HandOver)
		s.at(seenAt + time.Hour + time.Minute)
		s.isPutBack()
		want := map[string]drain.Path{"dns-1": drain.Evicted, "dns-2": drain.Spared}
		report := s.report()
		if diff := cmp.Diff(want, paths(report)); diff != "" {
			s.Errorf("pods (-want +got):\n%s", diff)
		}
		if len(report.Plan.Skips) != 1 || report.Plan.Skips[0].Reason != drain.NotCritical {
			s.Errorf("skipped %v, want web-1 because it is not critical", report.Plan.Skips)
		}
	})
}

func TestAnAdviceIsUndoneOnceItsHourIsOverThoughItStillShows(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.advises(fromThenOn)
		s.begin()
		s.at(seenAt + time.Hour - 10*time.Second)
		s.isAdvised(HandOver)
		s.at(seenAt + time.Hour + 10*time.Second)
		s.isPutBack()
		s.at(seenAt + 5*time.Hour)
		s.isPutBack()
		if n := len(s.log.with("Noticed advice")); n != 1 {
			s.Errorf("it was noticed %d times", n)
		}
	})
}

func TestAnAdviceThatIsWithdrawnIsUndoneAMinuteLater(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{critical("dns-1")}, func(s *scene) {
		s.node.closed["dns-1"] = true
		s.advises(between(seenAt, seenAt+10*time.Minute))
		s.begin()
		s.at(seenAt + 10*time.Minute + 58*time.Second)
		s.isAdvised(HandOver)
		s.at(seenAt + 11*time.Minute + 2*time.Second)
		s.isPutBack()
		if became := paths(s.report())["dns-1"]; became != drain.CalledOff {
			s.Errorf("dns-1 is %s, want %s", became, drain.CalledOff)
		}
	})
}

func TestAnAdviceThatIsGoneForAFewPollsIsNotWithdrawn(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.advises(func(at time.Duration) bool { return at >= seenAt && at/(20*time.Second)%2 == 0 })
		s.begin()
		s.at(seenAt + 50*time.Minute)
		s.isAdvised(HandOver)
		if n := len(s.log.with("Noticed advice")); n != 1 {
			s.Errorf("it was noticed %d times", n)
		}
	})
}

func TestARealNoticeTakesAnAdviceOver(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{newPod("web-1"), critical("dns-1")}, func(s *scene) {
		s.node.closed["dns-1"] = true
		s.advises(func(at time.Duration) bool { return at >= seenAt-5*time.Second })
		s.says(fromThenOn)
		s.begin()
		s.at(seenAt - time.Second)
		s.isAdvised(HandOver)
		s.at(seenAt)
		state := s.node.state(s.T)
		if !s.node.unschedulable() || state == nil || state.Advice != "" || !state.Cordoned {
			s.Errorf("the node is unschedulable: %v, and carries %+v; want a cordon of ours", s.node.unschedulable(), state)
		}
		s.at(endsAt)
		want := map[string]drain.Path{"web-1": drain.Evicted, "dns-1": drain.Forced}
		if diff := cmp.Diff(want, paths(s.report())); diff != "" {
			s.Errorf("pods (-want +got):\n%s", diff)
		}
	})
}

func TestAnAdviceDoesNotSoftenADrain(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.says(fromThenOn)
		s.advises(func(at time.Duration) bool { return at >= seenAt+5*time.Second })
		s.begin()
		s.at(endsAt)
		if state := s.node.state(s.T); !s.node.unschedulable() || state == nil || state.Advice != "" {
			s.Errorf("the node carries %+v", state)
		}
		if n := len(s.log.with("Noticed advice")); n != 0 {
			s.Errorf("an advice was followed in a drain")
		}
	})
}

func TestTheNextAgentGoesOnWithAnAdvice(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{critical("dns-1")}, func(s *scene) {
		s.leave(30*time.Minute, func(state *drain.State) {
			state.Kind, state.Source, state.Advice, state.Cordoned = string(RebalanceAdvice), "test/rebalance", string(HandOver), false
		})
		s.advisesSince(-30*time.Minute, func(time.Duration) bool { return true })
		s.begin()
		s.at(time.Minute)
		s.isAdvised(HandOver)
		if n := len(s.node.times(evict)); n != 1 {
			s.Errorf("%d pods were evicted, want dns-1", n)
		}
		s.at(31 * time.Minute)
		s.isPutBack()
	})
}

func TestTheNextAgentUndoesAnAdviceThatNobodyGivesAnyMore(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]time.Duration{
		"whose time is not over":       30 * time.Minute,
		"whose time is over":           -time.Second,
		"whose time is over for a day": -24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, somePods(), func(s *scene) {
				s.leave(left, func(state *drain.State) {
					state.Kind, state.Source, state.Advice, state.Cordoned = string(RebalanceAdvice), "test/gone", string(HandOver), false
				})
				s.begin()
				s.at(2 * time.Minute)
				s.isPutBack()
			})
		})
	}
}

func TestAnAgentThatStopsLeavesAnAdviceToTheNext(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{critical("dns-1")}, func(s *scene) {
		s.node.closed["dns-1"] = true
		s.advises(fromThenOn)
		s.begin()
		s.at(seenAt + time.Minute)
		s.stop()
		<-s.ended
		if took := time.Since(s.start) - seenAt - time.Minute; took > time.Second {
			s.Errorf("the agent took %v to stop", took)
		}
		s.isAdvised(HandOver)
		if n := len(s.told.all()); n != 0 {
			s.Errorf("%d ends were reported of what goes on", n)
		}
	})
}
