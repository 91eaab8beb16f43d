package agent

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

func somePods() []*corev1.Pod {
	return []*corev1.Pod{
		newPod("web-1"), newPod("web-2"), ownedPod("db-0", "StatefulSet"), ownedPod("log-x", "DaemonSet"),
	}
}

// paths tells what became of each pod.
func paths(report drain.Report) map[string]drain.Path {
	became := map[string]drain.Path{}
	for _, pod := range report.Pods {
		became[pod.Name] = pod.Path
	}
	return became
}

func TestANoticeEmptiesTheNodeAndEveryPodIsReported(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.says(fromThenOn)
		s.begin()
		s.at(seenAt - time.Millisecond)
		if s.node.unschedulable() {
			s.Error("the node is cordoned without a notice")
		}
		s.at(seenAt)
		if !s.node.unschedulable() {
			s.Error("the node is not cordoned at once")
		}
		s.at(seenAt + 5*time.Second)

		report := s.report()
		want := map[string]drain.Path{"web-1": drain.Evicted, "web-2": drain.Evicted, "db-0": drain.Evicted}
		if diff := cmp.Diff(want, paths(report)); diff != "" {
			s.Errorf("pods (-want +got):\n%s", diff)
		}
		if len(report.Plan.Skips) != 1 || report.Plan.Skips[0].Name != "log-x" {
			s.Errorf("skipped %v, want the DaemonSet's pod and no other", report.Plan.Skips)
		}
		if at := s.since(report.Plan.Deadline); at != endsAt {
			s.Errorf("the plan ends at %v, want %v", at, endsAt)
		}
		if at := s.since(report.Cordon.Done); at != seenAt || !report.Cordon.Ours {
			s.Errorf("cordoned at %v, ours %v; want %v and ours", at, report.Cordon.Ours, seenAt)
		}
		if !report.Complete() {
			s.Error("the report says that pods were left")
		}
	})
}

func TestANodeWhosePodsCannotBeReadIsReportedAsSuchAndNotAsEmpty(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.node.breakDown(context.DeadlineExceeded, watching)
		s.says(fromThenOn)
		s.begin()
		s.at(endsAt + time.Second)
		if report := s.report(); report.Unread == "" || report.Complete() {
			s.Errorf("unread is %q and complete %v", report.Unread, report.Complete())
		}
	})
}

func TestThePlanIsLoggedBeforeTheFirstPodIsTouched(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.node.setFault(func(_ context.Context, verb string) error {
			if verb == evict && len(s.log.with("Planned drain")) != 1 {
				s.Error("a pod is evicted by a plan that nobody can read")
			}
			return nil
		})
		s.says(fromThenOn)
		s.begin()
		s.at(seenAt + 5*time.Second)
		if n := len(s.node.times(evict)); n != 3 {
			s.Errorf("%d pods were evicted, want 3", n)
		}
	})
}

func TestMovesWaitForTheCordonAndNotForLong(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		cordon func(ctx context.Context) error
		want   time.Duration
	}{
		"the cordon holds at once": {func(context.Context) error { return nil }, 0},
		"the cordon takes 200 ms": {func(context.Context) error {
			<-time.After(200 * time.Millisecond)
			return nil
		}, 200 * time.Millisecond},
		"the cordon hangs": {func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, 500 * time.Millisecond},
		"the cordon fails": {func(context.Context) error { return errBroken }, 500 * time.Millisecond},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, somePods(), func(s *scene) {
				s.node.setFault(func(ctx context.Context, verb string) error {
					if verb == mark {
						return c.cordon(ctx)
					}
					return nil
				})
				s.says(fromThenOn)
				s.begin()
				s.at(endsAt)
				if first := s.since(s.node.times(evict)[0]); first != seenAt+c.want {
					s.Errorf("the first pod is told %v after the notice, want %v", first-seenAt, c.want)
				}
				if report := s.report(); !report.Complete() {
					s.Errorf("pods were left: %v", paths(report))
				}
			})
		})
	}
}

func TestACordonThatNeverHeldIsAnOutcome(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.node.breakDown(errBroken, mark)
		s.says(fromThenOn)
		s.begin()
		s.at(endsAt)
		want := drain.CordonOutcome{Err: errBroken.Error()}
		if diff := cmp.Diff(want, s.report().Cordon); diff != "" {
			s.Errorf("cordon (-want +got):\n%s", diff)
		}
	})
}

func TestAPodThatIsBoundLateIsMovedToo(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.says(fromThenOn)
		s.begin()
		s.at(seenAt + 500*time.Millisecond)
		s.node.bind(newPod("late"))
		s.at(seenAt + 10*time.Second)
		if path := paths(s.report())["late"]; path != drain.Evicted {
			s.Errorf("the late pod's path is %q, want %q", path, drain.Evicted)
		}
	})
}

func TestAReporterThatFailsEndsNothing(t *testing.T) {
	t.Parallel()
	cases := map[string]audience{
		"it answers with an error": {err: errBroken},
		"it hangs":                 {hangs: true},
	}
	for name := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, somePods(), func(s *scene) {
				s.told.err, s.told.hangs = cases[name].err, cases[name].hangs
				s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
					switch {
					case between(seenAt, time.Minute)(at):
						return []Sighting{s.endsAt(time.Minute)}, nil
					case between(2*time.Minute, 3*time.Minute)(at):
						return []Sighting{s.endsAt(3 * time.Minute)}, nil
					}
					return nil, nil
				}
				s.begin()
				s.at(4 * time.Minute)
				if n := len(s.told.all()); n != 2 {
					s.Errorf("%d drains were reported, want both", n)
				}
				if n := len(s.log.with("Reported to nobody")); n != 2 {
					s.Errorf("the log speaks of %d lost reports, want 2", n)
				}
			})
		})
	}
}

func TestASecondNoticeTightensTheDrainAndNeverLoosensIt(t *testing.T) {
	t.Parallel()
	const tighter = 60 * time.Second
	play(t, []*corev1.Pod{newPod("stuck")}, func(s *scene) {
		s.node.closed["stuck"] = true
		s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			switch {
			case at < seenAt:
				return nil, nil
			case at < 20*time.Second:
				return []Sighting{s.endsAt(endsAt)}, nil
			case at < 30*time.Second:
				return []Sighting{s.endsAt(tighter)}, nil
			}
			return []Sighting{s.endsAt(endsAt)}, nil
		}
		s.begin()
		for _, step := range []struct{ at, want time.Duration }{
			{seenAt, endsAt}, {20 * time.Second, tighter}, {40 * time.Second, tighter},
		} {
			s.at(step.at)
			if got := s.since(s.node.state(s.T).Deadline); got != step.want {
				s.Errorf("at %v the node says that it ends at %v, want %v", step.at, got, step.want)
			}
		}
		s.at(tighter)
		report := s.report()
		if got := s.since(report.Plan.Deadline); got != tighter {
			s.Errorf("the plan ends at %v, want %v", got, tighter)
		}
		if diff := cmp.Diff(map[string]drain.Path{"stuck": drain.Forced}, paths(report)); diff != "" {
			s.Errorf("pods (-want +got):\n%s", diff)
		}
	})
}

func TestARepeatedNoticeIsNoNewOne(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.says(fromThenOn)
		s.begin()
		s.at(time.Hour)
		if n := len(s.log.with("Noticed interruption")); n != 1 {
			s.Errorf("one notice was noticed %d times", n)
		}
		s.report()
		if !s.node.unschedulable() {
			s.Error("the node was given back under its notice")
		}
	})
}

func TestStoppingAnAgent(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		notice    func(time.Duration) bool
		stop, end time.Duration
		reports   int
	}{
		"an idle one returns at once":             {between(0, 0), 7 * time.Second, 7 * time.Second, 0},
		"one in a drain returns after it":         {fromThenOn, seenAt, seenAt + 2*time.Second, 1},
		"one whose drain is over returns at once": {fromThenOn, time.Minute, time.Minute, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, somePods(), func(s *scene) {
				s.says(c.notice)
				s.begin()
				s.at(c.stop)
				s.stop()
				<-s.ended
				if at := time.Since(s.start); at != c.end {
					s.Errorf("it returned at %v, want %v", at, c.end)
				}
				reports := s.told.all()
				if len(reports) != c.reports || slices.ContainsFunc(reports, func(r drain.Report) bool { return !r.Complete() }) {
					s.Errorf("reports are %v, want %d complete ones", reports, c.reports)
				}
			})
		})
	}
}
