package agent

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

func TestMaintenanceThatIsNoMore(t *testing.T) {
	t.Parallel()
	const lead = 10 * time.Minute
	until := func(end time.Duration) func(time.Duration, *Sighting) bool {
		return func(at time.Duration, _ *Sighting) bool { return at < end }
	}
	says := func(state State, from time.Duration) func(time.Duration, *Sighting) bool {
		return func(at time.Duration, s *Sighting) bool {
			if at >= from {
				s.State = state
			}
			return true
		}
	}
	begun := window - lead + 5*time.Minute
	cases := map[string]struct {
		change func(at time.Duration, sighting *Sighting) bool
		back   time.Duration // when the node is as before; 0: it was never touched
	}{
		"is nothing where it vanished before its lead": {until(window - time.Hour), 0},
		"is nothing where it was cancelled in time":    {says(Cancelled, window-time.Hour), 0},
		"is called off a minute after it vanished":     {until(begun), begun + time.Minute},
		"is called off when it is cancelled":           {says(Cancelled, begun), begun},
		"is undone when it is completed":               {says(Gone, window+time.Hour), window + time.Hour},
		"is undone when it vanished, done":             {until(window + time.Hour), window + time.Hour},
		"is called off when it is put off": {func(at time.Duration, sighting *Sighting) bool {
			if at >= begun {
				sighting.At = sighting.At.Add(7 * 24 * time.Hour)
			}
			return true
		}, begun + time.Minute},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, []*corev1.Pod{newPod("stuck")}, func(s *scene) {
				s.node.closed["stuck"] = true
				s.plans(c.change)
				s.begin()
				if c.back == 0 {
					s.at(2 * window)
					s.isUntouched()
					return
				}
				s.at(c.back - 2*time.Second)
				if state := s.node.state(s.T); state == nil || !s.node.unschedulable() {
					s.Errorf("it was undone before its time, or never done: the node carries %+v", state)
				}
				s.at(c.back + 2*time.Second)
				s.isPutBack()
				want := drain.CalledOff
				if c.back > window {
					want = drain.Forced
				}
				if became := paths(s.report())["stuck"]; became != want {
					s.Errorf("the stuck pod is %s, want %s", became, want)
				}
			})
		})
	}
}

func TestMaintenanceThatWasCancelledWhileNoAgentRanIsUndone(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.leave(5*time.Minute, func(state *drain.State) {
			state.Notice, state.Source, state.Kind = "event-1", "test/maintenance", string(Maintenance)
		})
		s.plans(func(time.Duration, *Sighting) bool { return false })
		s.begin()
		s.at(50 * time.Second)
		if s.node.state(s.T) == nil {
			s.Error("it was undone by the first word of a source")
		}
		s.at(62 * time.Second)
		s.isPutBack()
	})
}

func TestAScaleInThatIsWithdrawnIsUndone(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{newPod("stuck")}, func(s *scene) {
		s.node.closed["stuck"] = true
		s.announces("lifecycle", func(at time.Duration) []Sighting {
			if !between(seenAt, seenAt+time.Minute)(at) {
				return nil
			}
			return []Sighting{{Kind: ScaleIn, Action: Terminate, State: Started, Nominal: 15 * time.Minute}}
		})
		s.begin()
		s.at(seenAt + 2*time.Minute - 2*time.Second)
		if !s.node.unschedulable() {
			s.Error("the node is not cordoned")
		}
		s.at(seenAt + 2*time.Minute + 2*time.Second)
		s.isPutBack()
	})
}

func TestOneReplyWithoutANoticeUndoesNoDrainHoweverSeldomItsSourceIsAsked(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		source := newScript("maintenance", s.start)
		source.pace.Every = time.Minute
		source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			if between(window-5*time.Minute, window-4*time.Minute)(at) {
				return nil, nil
			}
			return []Sighting{s.planned(window)}, nil
		}
		s.agent.Sources = append(s.agent.Sources, source)
		s.begin()
		s.at(window)
		if lapsed := len(s.log.with("Notice lapsed")); lapsed > 0 || !s.node.unschedulable() {
			s.Errorf("the notice lapsed %d times, and the node is unschedulable: %v", lapsed, s.node.unschedulable())
		}
	})
}

func TestASpotNoticeThatVanishesHoldsTheDrainThatMaintenanceBegan(t *testing.T) {
	t.Parallel()
	const begun, seen = window - 10*time.Minute, window - 8*time.Minute
	play(t, []*corev1.Pod{newPod("stuck")}, func(s *scene) {
		s.node.closed["stuck"] = true
		s.plans(func(at time.Duration, sighting *Sighting) bool {
			if at > seen+10*time.Second {
				sighting.State = Cancelled
			}
			return true
		})
		s.announces("other", func(at time.Duration) []Sighting {
			if !between(seen, seen+5*time.Second)(at) {
				return nil
			}
			return []Sighting{s.endsAt(seen + 2*time.Minute)}
		})
		s.begin()
		s.at(begun + 5*time.Second)
		if !s.node.unschedulable() {
			s.Error("the node is not cordoned for its maintenance")
		}
		s.at(seen + 2*time.Minute)
		if became := paths(s.report())["stuck"]; became != drain.Forced {
			s.Errorf("the stuck pod is %s, want %s", became, drain.Forced)
		}
		s.at(seen + 3*time.Minute + 2*time.Second)
		s.isPutBack()
	})
}

func TestABlindSourceUndoesNoDrainByWhatItSaidLast(t *testing.T) {
	t.Parallel()
	const begun, blind = window - 10*time.Minute, window - 5*time.Minute
	play(t, nil, func(s *scene) {
		source := newScript("maintenance", s.start)
		source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			switch {
			case at > blind:
				return nil, errBroken
			case at == blind:
				return nil, nil
			}
			return []Sighting{s.planned(window)}, nil
		}
		s.agent.Sources = append(s.agent.Sources, source)
		s.begin()
		s.at(begun + 5*time.Second)
		if !s.node.unschedulable() {
			s.Error("the node is not cordoned for its maintenance")
		}
		s.at(window)
		if !s.node.unschedulable() {
			s.Error("it was undone by one reply")
		}
	})
}
