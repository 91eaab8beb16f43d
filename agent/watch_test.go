package agent

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const spotCheck = "source/test-spot"

// blind says whether the source counts as blind now.
func (s *scene) blind() bool { return s.agent.Health.Failing(time.Now())[spotCheck] != nil }

func TestASourceIsBlindAfterTenSecondsWithoutASuccess(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			if at > 20*time.Second {
				return nil, errBroken
			}
			return nil, nil
		}
		s.begin()
		s.at(29900 * time.Millisecond)
		if s.blind() {
			s.Error("it is blind 9.9 s after its last success")
		}
		s.at(30100 * time.Millisecond)
		if !s.blind() {
			s.Error("it is not blind 10.1 s after its last success")
		}
	})
}

func TestASourceThatSeesAgainIsNotBlindAnyMore(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			if at < time.Hour {
				return nil, errBroken
			}
			return nil, nil
		}
		s.begin()
		s.at(time.Hour - time.Millisecond)
		if !s.blind() {
			s.Error("a source that never saw anything is not blind")
		}
		s.at(time.Hour)
		if s.blind() {
			s.Error("it is blind with a success")
		}
		told := slices.DeleteFunc(s.log.checks(), func(line string) bool {
			return line != "failed "+spotCheck+": connection refused" && line != "passed "+spotCheck
		})
		want := []string{"failed " + spotCheck + ": connection refused", "passed " + spotCheck}
		if diff := cmp.Diff(want, told); diff != "" {
			s.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestASourceIsBlindAfterItsOwnTime(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.source.pace = Pace{Every: time.Minute, Timeout: time.Second, BlindAfter: 3 * time.Minute}
		s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			if at > 0 {
				return nil, errBroken
			}
			return nil, nil
		}
		s.begin()
		s.at(3 * time.Minute)
		if s.blind() {
			s.Error("it is blind before its time")
		}
		s.at(3*time.Minute + time.Second)
		if !s.blind() {
			s.Error("it is not blind after its time")
		}
	})
}

func TestPolls(t *testing.T) {
	t.Parallel()
	works := func(context.Context, time.Duration) ([]Sighting, error) { return nil, nil }
	fails := func(context.Context, time.Duration) ([]Sighting, error) { return nil, errBroken }
	hangs := func(ctx context.Context, _ time.Duration) ([]Sighting, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	slow := func(context.Context, time.Duration) ([]Sighting, error) {
		<-time.After(300 * time.Millisecond)
		return nil, nil
	}
	const long = 8 * time.Second
	waits := func(context.Context, time.Duration) ([]Sighting, error) {
		<-time.After(long - time.Second)
		return nil, nil
	}
	cases := map[string]struct {
		every, timeout time.Duration
		say            func(context.Context, time.Duration) ([]Sighting, error)
		want           time.Duration
	}{
		"come at their interval":                         {time.Second, time.Second, works, time.Second},
		"come at a long interval while all is well":      {5 * time.Second, time.Second, works, 5 * time.Second},
		"keep their interval when they take long":        {time.Second, time.Second, slow, time.Second},
		"go on at their interval when they fail":         {500 * time.Millisecond, time.Second, fails, 500 * time.Millisecond},
		"are repeated within a second when they fail":    {5 * time.Second, time.Second, fails, time.Second},
		"are given up after their time and repeated":     {time.Second, time.Second, hangs, time.Second},
		"that hang are repeated at once":                 {5 * time.Second, time.Second, hangs, time.Second},
		"follow one another when they take longer":       {time.Second, long, waits, long - time.Second},
		"that may take long are repeated soon, too":      {time.Second, long, fails, time.Second},
		"that may take long and hang have all that time": {time.Second, long, hangs, long},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, nil, func(s *scene) {
				s.source.pace.Every, s.source.pace.Timeout, s.source.say = c.every, c.timeout, c.say
				s.begin()
				s.at(time.Minute)
				s.stop()
				<-s.ended
				if len(s.source.polls) < 2 {
					s.Fatalf("it was polled at %v in a minute", s.source.polls)
				}
				for i, at := range s.source.polls[1:] {
					if got := at - s.source.polls[i]; got != c.want {
						s.Fatalf("poll %d comes %v after the one before, want %v", i+1, got, c.want)
					}
				}
			})
		})
	}
}

func TestANoticeIsActedOnThoughAnotherSourceHangs(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		hanging := newScript("hanging", s.start)
		hanging.say = func(ctx context.Context, _ time.Duration) ([]Sighting, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		s.agent.Sources = append(s.agent.Sources, hanging)
		s.says(fromThenOn)
		s.begin()
		s.at(seenAt)
		if !s.node.unschedulable() {
			s.Error("the node is not cordoned at once")
		}
		if failing := s.agent.Health.Failing(time.Now()); failing[checkName(hanging)] == nil || failing[spotCheck] != nil {
			s.Errorf("failing are %v, want the hanging source and not the other", failing)
		}
	})
}
