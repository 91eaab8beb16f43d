package agent

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
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
			play(t, []*corev1.Pod{newPod("web-1"), newPod("stuck")}, func(t *testing.T, s *scene) {
				s.node.closed["stuck"] = true
				s.says(endsAt, shows)
				s.begin()
				s.at(lapsedAt - time.Second)
				if s.node.state(t) == nil || !s.node.unschedulable() {
					t.Error("it was undone before its time")
				}
				s.at(lapsedAt)
				if state := s.node.state(t); state != nil || s.node.unschedulable() {
					t.Errorf("it was not undone: the node carries %+v", state)
				}
				s.at(lapsedAt + time.Hour)
				if became := paths(s.report()); became["web-1"] != drain.Evicted || became["stuck"] != drain.Forced {
					t.Errorf("pods became %v: the drain did not go on to its end", became)
				}
			})
		})
	}
}

func TestANoticeOfAnotherSourceKeepsNoLapsedOneAlive(t *testing.T) {
	t.Parallel()
	play(t, nil, func(t *testing.T, s *scene) {
		quiet := &script{name: "quiet", start: s.start}
		s.agent.Sources = append(s.agent.Sources, quiet)
		s.says(endsAt, from(seenAt))
		s.begin()
		s.at(lapsedAt + time.Hour)
		if s.node.state(t) == nil {
			t.Error("a source that never showed the notice has taken it back")
		}
	})
}

func TestANoticeAfterTheDeadlineOfTheLastOneBeginsANewDrain(t *testing.T) {
	t.Parallel()
	const secondSeen, secondEnds = endsAt + 20*time.Second, endsAt + 2*time.Minute
	cases := map[string]func(time.Duration) bool{
		"the first is gone":     between(seenAt, 20*time.Second),
		"the first still shows": from(seenAt),
	}
	for name, shows := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, nil, func(t *testing.T, s *scene) {
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
					t.Fatalf("%d drains were reported, want one of each notice", len(reports))
				}
				if end := s.since(reports[1].Plan.Deadline); end != secondEnds {
					t.Errorf("the second drain ends at %v, want %v", end, secondEnds)
				}
				state := s.node.state(t)
				if state == nil || state.Notice != "second" || s.since(state.Deadline) != secondEnds || !state.Cordoned {
					t.Errorf("the node carries %+v, want the second notice on a cordon of ours", state)
				}
			})
		})
	}
}

func TestANoticeThatComesWhileTheLastOneIsBeingUndoneIsNotUndoneWithIt(t *testing.T) {
	t.Parallel()
	const secondSeen = lapsedAt + 30*time.Second
	const secondEnds = secondSeen + 2*time.Minute
	play(t, nil, func(t *testing.T, s *scene) {
		s.says(endsAt, func(at time.Duration) bool { return between(seenAt, 20*time.Second)(at) })
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
			t.Error("the undo is not tried again")
		}
		s.at(secondSeen + 10*time.Second)
		s.node.breakDown(nil)
		s.at(secondEnds + time.Minute)
		state := s.node.state(t)
		if state == nil || s.since(state.Deadline) != secondEnds || !s.node.unschedulable() {
			t.Errorf("the node carries %+v, want the second notice", state)
		}
		if n := len(s.told.all()); n != 2 {
			t.Errorf("%d drains were reported, want both", n)
		}
	})
}

func TestAFailedUndoIsTriedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	play(t, nil, func(t *testing.T, s *scene) {
		s.node.breakDown(errBroken, undo)
		s.says(endsAt, between(seenAt, 20*time.Second))
		s.begin()
		s.at(lapsedAt + 10*time.Minute)
		if !s.node.unschedulable() {
			t.Fatal("the node was given back by a request that failed")
		}
		s.node.breakDown(nil)
		s.at(lapsedAt + 10*time.Minute + readDelay)
		if state := s.node.state(t); state != nil || s.node.unschedulable() {
			t.Errorf("the node carries %+v, want nothing", state)
		}
	})
}

func TestANodeThatWasCordonedBeforeUsStaysCordoned(t *testing.T) {
	t.Parallel()
	play(t, nil, func(t *testing.T, s *scene) {
		s.node.node.Spec.Unschedulable = true
		s.says(endsAt, between(seenAt, 20*time.Second))
		s.begin()
		s.at(lapsedAt)
		if s.node.state(t) != nil || !s.node.unschedulable() {
			t.Error("the undo took back more than Ebbtide did")
		}
	})
}

// A week of a source that flaps, with a notice that lapses each day, must leave
// the agent as it was after the first day.
func TestAWeekOfTroubleLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	play(t, nil, func(t *testing.T, s *scene) {
		s.agent.PollInterval = 5 * time.Second
		s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			switch today := at % day; {
			case between(time.Hour, time.Hour+time.Minute)(today):
				return []Sighting{s.endsAt(at - today + time.Hour + 2*time.Minute)}, nil
			case at/time.Second%60 < 30:
				return nil, errBroken
			}
			return nil, nil
		}
		s.begin()
		s.at(day)
		synctest.Wait()
		before := runtime.NumGoroutine()
		s.at(7 * day)
		// Other tests come and go meanwhile; a leak would be one a day at least
		// of every kind, or one a poll.
		if n := runtime.NumGoroutine() - before; n > 200 {
			t.Errorf("%d goroutines more than after the first day", n)
		}
		if n := len(s.told.all()); n != 7 {
			t.Errorf("%d drains were reported, want one a day", n)
		}
		if s.node.state(t) != nil || s.node.unschedulable() {
			t.Error("the last notice was not undone")
		}
	})
}
