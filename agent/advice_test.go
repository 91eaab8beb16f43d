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

func TestANodeThatCannotBeMarkedIsNoReasonToLeaveItsCriticalPodsThere(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{critical("dns-1")}, func(s *scene) {
		s.node.breakDown(errBroken, mark)
		s.advises(between(seenAt, seenAt+10*time.Minute))
		s.begin()
		s.at(seenAt + 10*time.Minute)
		if n := len(s.node.times(evict)); n != 1 {
			s.Errorf("%d pods were evicted, want dns-1", n)
		}
		s.at(seenAt + 12*time.Minute)
		left := s.log.with("Left node unmarked")
		if len(left) != 1 || left[0]["level"] != "WARN" || len(s.log.with("Left node uncordoned")) != 0 {
			s.Errorf("the log tells of the mark %v, want that it was not made, once, as a warning", left)
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
		registry := prometheus.NewRegistry()
		s.agent.Metrics = NewMetrics(registry, s.agent.Sources)
		s.begin()
		s.at(time.Minute)
		s.isAdvised(HandOver)
		if n := len(s.node.times(evict)); n != 1 {
			s.Errorf("%d pods were evicted, want dns-1", n)
		}
		if gauge := series(s.T, registry)["ebbtide_node_interrupted"]; gauge != 0 {
			s.Errorf("the node is said to be interrupted: %v", gauge)
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

// undated is maintenance whose moment cannot be read: it is cordoned for softly.
func (s *scene) undated(id string) Sighting {
	return s.planned(0, func(sighting *Sighting) { sighting.ID = id })
}

func TestAWeakerAdviceKeepsNoneThatIsWithdrawn(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{critical("dns-1")}, func(s *scene) {
		s.node.closed["dns-1"] = true
		s.announces("maintenance", func(time.Duration) []Sighting { return []Sighting{s.undated("event-1")} })
		s.advises(between(seenAt, seenAt+5*time.Minute))
		s.begin()
		s.at(seenAt + 5*time.Minute)
		s.isAdvised(HandOver)
		s.at(seenAt + 6*time.Minute + 5*time.Second)
		s.isAdvised(CordonSoftly)
		if became := paths(s.report())["dns-1"]; became != drain.CalledOff {
			s.Errorf("dns-1 is %s, want %s", became, drain.CalledOff)
		}
	})
}

func TestAnAdviceGoesOnFromTheLastOneThatAskedForAsMuch(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.announces("maintenance", func(at time.Duration) []Sighting {
			all := []Sighting{s.undated("first")}
			if at >= 30*time.Minute {
				all = append(all, s.undated("second"))
			}
			return all
		})
		s.begin()
		s.at(time.Hour + 5*time.Second)
		s.isAdvised(CordonSoftly)
		if state := s.node.state(s.T); state != nil && state.Notice != "second" {
			s.Errorf("the node carries %q, want the one that stands", state.Notice)
		}
		if n := len(s.node.times(undo)); n > 0 {
			s.Errorf("what goes on was undone %d times in between", n)
		}
		s.at(90*time.Minute + 5*time.Second)
		s.isPutBack()
	})
}

func TestAnAdviceThatIsDrainedForIsGivenTheLead(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{newPod("stuck")}, func(s *scene) {
		s.node.closed["stuck"] = true
		s.agent.Rules.Kinds[RebalanceAdvice] = DrainNow
		s.advises(fromThenOn)
		s.begin()
		s.at(seenAt + s.agent.Rules.Lead)
		if end := s.since(s.report().Plan.Deadline); end != seenAt+s.agent.Rules.Lead {
			s.Errorf("the drain ends at %v, want %v", end, seenAt+s.agent.Rules.Lead)
		}
	})
}

func TestAnAdviceWaitsForWhatAnEarlierBootLeft(t *testing.T) {
	t.Parallel()
	const tidied = 5 * time.Second
	play(t, nil, func(s *scene) {
		s.leave(-time.Minute, anotherBoot)
		s.node.setFault(func(_ context.Context, verb string) error {
			if verb == tidy {
				<-time.After(tidied)
			}
			return nil
		})
		s.advises(func(time.Duration) bool { return true })
		s.begin()
		s.at(tidied - time.Second)
		if n := len(s.node.times(mark)); n > 0 {
			s.Error("the node was marked before it was put back")
		}
		s.at(tidied + 2*time.Second)
		s.isAdvised(HandOver)
	})
}
