package agent

import (
	"context"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

func TestAVanishedNoticeIsUndoneAMinuteAfterItsDeadline(t *testing.T) {
	t.Parallel()
	cases := map[string]func(time.Duration) bool{
		"it vanished before its deadline":  between(seenAt, 15*time.Second),
		"it vanished after its deadline":   between(seenAt, endsAt+5*time.Second),
		"it came and went with every poll": func(at time.Duration) bool { return at >= seenAt && at < endsAt && at/time.Second%2 == 0 },
		"it was gone for one poll":         func(at time.Duration) bool { return at >= seenAt && at < endsAt && at != 20*time.Second },
	}
	for name, shows := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, []*corev1.Pod{newPod("web-1"), newPod("stuck")}, func(s *scene) {
				s.node.closed["stuck"] = true
				s.says(shows)
				s.begin()
				s.at(lapsedAt - time.Second)
				if s.node.state(s.T) == nil || !s.node.unschedulable() {
					s.Error("it was undone before its time")
				}
				s.at(lapsedAt)
				if state := s.node.state(s.T); state != nil || s.node.unschedulable() {
					s.Errorf("it was not undone: the node carries %+v", state)
				}
				s.at(lapsedAt + time.Hour)
				if became := paths(s.report()); became["web-1"] != drain.Evicted || became["stuck"] != drain.Forced {
					s.Errorf("pods became %v: the drain did not go on to its end", became)
				}
			})
		})
	}
}

func TestANoticeOfAnotherSourceKeepsNoLapsedOneAlive(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		quiet := newScript("quiet", s.start)
		s.agent.Sources = append(s.agent.Sources, quiet)
		s.says(fromThenOn)
		s.begin()
		s.at(lapsedAt + time.Hour)
		if s.node.state(s.T) == nil {
			s.Error("a source that never showed the notice has taken it back")
		}
	})
}

func TestANoticeAfterTheDeadlineOfTheLastOneBeginsANewDrain(t *testing.T) {
	t.Parallel()
	const secondSeen, secondEnds = endsAt + 20*time.Second, endsAt + 2*time.Minute
	cases := map[string]func(time.Duration) bool{
		"the first is gone":     between(seenAt, 20*time.Second),
		"the first still shows": fromThenOn,
	}
	for name, shows := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, nil, func(s *scene) {
				s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
					var all []Sighting
					if shows(at) {
						all = append(all, s.endsAt(endsAt))
					}
					if at >= secondSeen {
						second := s.endsAt(secondEnds)
						second.ID = "second"
						all = append(all, second)
					}
					return all, nil
				}
				s.begin()
				s.at(secondSeen)
				s.node.bind(newPod("new"))
				s.at(secondEnds)
				reports := s.told.all()
				if len(reports) != 2 || len(reports[1].Pods) != 1 {
					s.Fatalf("%d drains were reported, want one of each notice", len(reports))
				}
				if end := s.since(reports[1].Plan.Deadline); end != secondEnds {
					s.Errorf("the second drain ends at %v, want %v", end, secondEnds)
				}
				state := s.node.state(s.T)
				if state == nil || state.Notice != "second" || s.since(state.Deadline) != secondEnds || !state.Cordoned {
					s.Errorf("the node carries %+v, want the second notice on a cordon of ours", state)
				}
			})
		})
	}
}

func TestANoticeThatComesWhileTheLastOneIsBeingUndoneIsNotUndoneWithIt(t *testing.T) {
	t.Parallel()
	const secondSeen = lapsedAt + 30*time.Second
	const secondEnds = secondSeen + 2*time.Minute
	play(t, nil, func(s *scene) {
		s.says(func(at time.Duration) bool { return between(seenAt, 20*time.Second)(at) })
		first := s.source.say
		s.source.say = func(ctx context.Context, at time.Duration) ([]Sighting, error) {
			if at >= secondSeen {
				return []Sighting{s.endsAt(secondEnds)}, nil
			}
			return first(ctx, at)
		}
		s.begin()
		s.at(endsAt)
		s.node.breakDown(errBroken, undo)
		s.at(secondSeen - time.Millisecond)
		if len(s.log.with("Left cordon in place for now")) < 2 {
			s.Error("the undo is not tried again")
		}
		s.at(secondSeen + 10*time.Second)
		s.node.breakDown(nil)
		s.at(secondEnds + time.Minute)
		state := s.node.state(s.T)
		if state == nil || s.since(state.Deadline) != secondEnds || !s.node.unschedulable() {
			s.Errorf("the node carries %+v, want the second notice", state)
		}
		if n := len(s.told.all()); n != 2 {
			s.Errorf("%d drains were reported, want both", n)
		}
	})
}

func TestANoticeOfAnotherSourceIsActedOnAtOnceWhenTheLastOneLapses(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		const otherEnds = time.Hour
		far := newScript("far", s.start)
		far.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			if at < time.Minute {
				return nil, nil
			}
			sighting := s.endsAt(otherEnds)
			sighting.Nominal = otherEnds
			return []Sighting{sighting}, nil
		}
		s.agent.Sources = append(s.agent.Sources, far)
		s.node.breakDown(errBroken, undo)
		s.says(between(seenAt, 20*time.Second))
		s.begin()
		s.at(lapsedAt + 5*time.Second)
		if state := s.node.state(s.T); state == nil || s.since(state.Deadline) != otherEnds {
			s.Errorf("the node carries %+v, want the notice that stands", state)
		}
	})
}

func TestAFailedUndoIsTriedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.node.breakDown(errBroken, undo)
		s.says(between(seenAt, 20*time.Second))
		s.begin()
		s.at(lapsedAt + 10*time.Minute)
		if !s.node.unschedulable() {
			s.Fatal("the node was given back by a request that failed")
		}
		s.node.breakDown(nil)
		s.at(lapsedAt + 10*time.Minute + readDelay)
		if state := s.node.state(s.T); state != nil || s.node.unschedulable() {
			s.Errorf("the node carries %+v, want nothing", state)
		}
	})
}

func TestADrainThatNeverHeldUndoesTheAdviceThatItTookOver(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.advisesSince(0, func(at time.Duration) bool { return at < seenAt })
		s.says(between(seenAt, 20*time.Second))
		s.begin()
		s.at(seenAt - time.Second)
		s.isAdvised(HandOver)
		s.node.breakDown(errBroken, mark)
		s.at(lapsedAt)
		s.isPutBack()
		if n := len(s.log.with("Notice lapsed")); n != 1 {
			s.Errorf("it lapsed %d times, want once", n)
		}
	})
}

func TestANodeThatWasCordonedBeforeUsStaysCordoned(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.node.node.Spec.Unschedulable = true
		s.says(between(seenAt, 20*time.Second))
		s.begin()
		s.at(lapsedAt)
		if s.node.state(s.T) != nil || !s.node.unschedulable() {
			s.Error("the undo took back more than Ebbtide did")
		}
	})
}

// A week of a source that flaps, with a notice that lapses each day, must leave
// the agent as it was after the first day. No other test runs meanwhile, so that
// goroutines can be counted.
func TestAWeekOfTroubleLeavesNothingBehind(t *testing.T) {
	const day = 24 * time.Hour
	play(t, somePods(), func(s *scene) {
		s.source.pace.Every = 10 * time.Second
		s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			switch today := at % day; {
			case between(time.Hour, time.Hour+time.Minute)(today):
				return []Sighting{s.endsAt(at - today + time.Hour + 2*time.Minute)}, nil
			case at%(10*time.Minute) >= 9*time.Minute+45*time.Second:
				return nil, errBroken
			}
			return nil, nil
		}
		s.begin()
		s.at(day)
		before := runtime.NumGoroutine()
		s.at(7 * day)
		if now := runtime.NumGoroutine(); now != before {
			s.Errorf("%d goroutines after a week, %d after a day", now, before)
		}
		if n := len(s.told.all()); n != 7 {
			s.Errorf("%d drains were reported, want one a day", n)
		}
		if s.node.state(s.T) != nil || s.node.unschedulable() {
			s.Error("the last notice was not undone")
		}
		blind := 0
		for _, line := range s.log.checks() {
			if line == "failed "+spotCheck+": "+errBroken.Error() {
				blind++
			}
		}
		if want := 7 * 24 * 6; blind != want {
			s.Errorf("the log says %d times that the source was blind, want %d", blind, want)
		}
	})
}
