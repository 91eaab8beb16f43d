package agent

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

// announces adds a source called name, which says at each moment what say does.
func (s *scene) announces(name string, say func(at time.Duration) []Sighting) {
	source := newScript(name, s.start)
	source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) { return say(at), nil }
	s.agent.Sources = append(s.agent.Sources, source)
}

// planned is maintenance at a moment of the scene, as it is read now; at zero its moment
// cannot be read.
func (s *scene) planned(at time.Duration, change ...func(*Sighting)) Sighting {
	sighting := Sighting{
		ID: "event-1", Kind: Maintenance, Action: Reboot, State: Scheduled, AtKind: Earliest,
		ServerTime: time.Now().Add(-dateHalf), Nominal: 60 * 24 * time.Hour,
	}
	if at != 0 {
		sighting.At = s.start.Add(at)
	}
	for _, f := range change {
		f(&sighting)
	}
	return sighting
}

// window is when most scenes plan maintenance.
const window = 2 * time.Hour

// plans adds a source that shows maintenance at window from seenAt on, as change has it.
func (s *scene) plans(change func(at time.Duration, sighting *Sighting) (shown bool)) {
	s.announces("maintenance", func(at time.Duration) []Sighting {
		sighting := s.planned(window)
		if at < seenAt || !change(at, &sighting) {
			return nil
		}
		return []Sighting{sighting}
	})
}

func always(time.Duration, *Sighting) bool { return true }

// isUntouched fails the test when anything was done to the node.
func (s *scene) isUntouched() {
	s.Helper()
	if marks := s.node.times(mark); len(marks) > 0 || len(s.node.times(evict)) > 0 {
		s.Errorf("the node was marked %d times and lost %d pods", len(marks), len(s.node.times(evict)))
	}
}

func TestPlannedMaintenanceIsDrainedForShortlyBefore(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{newPod("web-1"), newPod("stuck")}, func(s *scene) {
		s.node.closed["stuck"] = true
		s.plans(always)
		s.begin()
		s.at(window - 10*time.Minute - time.Second)
		s.isUntouched()
		if n := len(s.log.with("Noted notice")); n != 1 {
			s.Errorf("the notice was noted %d times, want once", n)
		}
		s.at(window - 10*time.Minute + 2*time.Second)
		if !s.node.unschedulable() {
			s.Error("the node is not cordoned ten minutes before")
		}
		s.at(window - time.Minute)
		if len(s.told.all()) > 0 {
			s.Error("the stuck pod was not waited for")
		}
		s.at(window)
		report := s.report()
		if became := paths(report); became["web-1"] != drain.Evicted || became["stuck"] != drain.Forced {
			s.Errorf("pods became %v", became)
		}
		if end := s.since(report.Plan.Deadline); end != window {
			s.Errorf("the drain ends at %v, want the window's begin", end)
		}
	})
}

func TestMaintenanceAtAMomentThatCannotBeReadIsCordonedForSoftly(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.plans(func(_ time.Duration, sighting *Sighting) bool {
			sighting.At = time.Time{}
			return true
		})
		s.begin()
		s.at(seenAt + time.Minute)
		s.isAdvised(CordonSoftly)
		if n := len(s.node.times(evict)); n > 0 {
			s.Errorf("%d pods were evicted", n)
		}
	})
}

func TestMaintenanceThatBeginsBeforeItsTimeIsDrainedForAtOnce(t *testing.T) {
	t.Parallel()
	const begins = seenAt + time.Minute
	play(t, somePods(), func(s *scene) {
		s.plans(func(at time.Duration, sighting *Sighting) bool {
			if at >= begins {
				sighting.State, sighting.At, sighting.Nominal = Started, time.Time{}, 0
			}
			return true
		})
		s.begin()
		s.at(begins + 5*time.Second)
		report := s.report()
		if end := s.since(report.Plan.Deadline); !report.Complete() || end != begins+leastLead {
			s.Errorf("complete %v, with the deadline at %v, want %v", report.Complete(), end, begins+leastLead)
		}
	})
}

func TestMaintenanceThatBeginsDuringItsDrainTightensIt(t *testing.T) {
	t.Parallel()
	const begins = window - 8*time.Minute
	play(t, []*corev1.Pod{newPod("stuck")}, func(s *scene) {
		s.node.closed["stuck"] = true
		s.plans(func(at time.Duration, sighting *Sighting) bool {
			if at >= begins {
				sighting.State, sighting.At, sighting.Nominal = Started, time.Time{}, 0
			}
			return true
		})
		s.begin()
		s.at(begins + leastLead)
		if end := s.since(s.report().Plan.Deadline); end != begins+leastLead {
			s.Errorf("the drain ends at %v, want %v", end, begins+leastLead)
		}
	})
}

func TestTheSameInterruptionSeenBySeveralSourcesIsOneDrainByTheEarliestDeadline(t *testing.T) {
	t.Parallel()
	scaleIn := func(at time.Duration) []Sighting {
		if at < seenAt-2*time.Second {
			return nil
		}
		return []Sighting{{Kind: ScaleIn, Action: Terminate, State: Started, Nominal: 15 * time.Minute}}
	}
	play(t, []*corev1.Pod{newPod("web-1"), newPod("stuck")}, func(s *scene) {
		s.node.closed["stuck"] = true
		s.announces("lifecycle", scaleIn)
		s.advises(fromThenOn)
		s.says(fromThenOn)
		s.begin()
		s.at(endsAt + 30*time.Second)
		report := s.report()
		if end := s.since(report.Plan.Deadline); end != endsAt {
			s.Errorf("the drain ends at %v, want %v", end, endsAt)
		}
		if n := len(s.log.with("Noticed interruption")); n != 1 {
			s.Errorf("%d interruptions were noticed, want one", n)
		}
	})
}

func TestAnEstimateOfAnotherKindMayBeTheEarliestDeadline(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{newPod("stuck")}, func(s *scene) {
		s.node.closed["stuck"] = true
		s.plans(always)
		begun := window - 9*time.Minute
		s.announces("preempted", func(at time.Duration) []Sighting {
			if at < begun {
				return nil
			}
			return []Sighting{{
				Kind: SpotInterruption, Action: Terminate, State: Started, Nominal: 30 * time.Second,
				At: s.start.Add(begun + 30*time.Second), AtKind: Estimated,
			}}
		})
		s.begin()
		s.at(begun + 31*time.Second)
		if end := s.since(s.report().Plan.Deadline); end != begun+30*time.Second {
			s.Errorf("the drain ends at %v, want %v", end, begun+30*time.Second)
		}
	})
}

func TestANoticeThatIsOnlyReportedTouchesNothingAndIsToldOnce(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		every time.Duration
		shows func(at time.Duration) (shown bool, err error)
	}{
		"though it flaps":                          {time.Second, func(at time.Duration) (bool, error) { return at/time.Second%2 == 0, nil }},
		"though its source is asked once a minute": {time.Minute, func(time.Duration) (bool, error) { return true, nil }},
		"though it flaps at a source that is asked once a minute": {
			time.Minute, func(at time.Duration) (bool, error) { return at/time.Minute%2 == 0, nil },
		},
		"though its source is blind for long": {time.Second, func(at time.Duration) (bool, error) {
			if between(10*time.Minute, time.Hour)(at) {
				return false, errBroken
			}
			return true, nil
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, somePods(), func(s *scene) {
				source := newScript("maintenance", s.start)
				source.pace.Every = c.every
				source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
					if shown, err := c.shows(at); !shown {
						return nil, err
					}
					return []Sighting{s.planned(window, func(s *Sighting) { s.Action = Migrate })}, nil
				}
				s.agent.Sources = append(s.agent.Sources, source)
				s.begin()
				s.at(2 * window)
				s.isUntouched()
				if n := len(s.log.with("Noted notice")); n != 1 {
					s.Errorf("it was noted %d times, want once", n)
				}
			})
		})
	}
}

// acknowledging is a source that is told when the node is drained.
type acknowledging struct {
	*script
	ids chan string
}

func (a acknowledging) Acknowledge(_ context.Context, id string) error {
	a.ids <- id
	return nil
}

func TestACloudIsTold(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		wanted bool
		closed []string
		want   []string
	}{
		"that the node is drained":          {true, nil, []string{"event-1"}},
		"nothing where that is not wanted":  {false, nil, nil},
		"nothing before all pods have left": {true, []string{"web-1"}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, []*corev1.Pod{newPod("web-1")}, func(s *scene) {
				for _, pod := range c.closed {
					s.node.closed[pod] = true
				}
				ids := make(chan string, 9)
				s.agent.Acknowledge = c.wanted
				s.plans(always)
				last := len(s.agent.Sources) - 1
				script, _ := s.agent.Sources[last].(*script)
				s.agent.Sources[last] = acknowledging{script, ids}
				s.begin()
				s.at(window - time.Minute)
				var got []string
				for len(ids) > 0 {
					got = append(got, <-ids)
				}
				if !slices.Equal(got, c.want) {
					s.Errorf("it was told %v, want %v", got, c.want)
				}
			})
		})
	}
}
