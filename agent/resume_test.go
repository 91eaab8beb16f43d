package agent

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

// leave puts the state of an earlier agent's drain on the node, whose machine
// would end at a moment of the scene.
func (s *scene) leave(end time.Duration, change func(*drain.State)) {
	state := drain.State{
		Notice: "earlier", Source: "test/spot", Kind: string(SpotInterruption), Action: string(Terminate),
		DeadlineKind: string(Exact), Cordoned: true,
	}
	state.SetDeadline(s.start.Add(end), s.start, s.agent.Boot)
	if change != nil {
		change(&state)
	}
	s.node.write(state)
}

func anotherBoot(state *drain.State) { state.BootID = "another-boot" }

func TestADrainGoesOnWithTheTimeThatIsLeft(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{newPod("web-1"), newPod("stuck")}, func(s *scene) {
		s.node.closed["stuck"] = true
		s.leave(40*time.Second, nil)
		s.source.say = func(context.Context, time.Duration) ([]Sighting, error) { return nil, errBroken }
		s.begin()
		s.at(40 * time.Second)
		report := s.report()
		if end := s.since(report.Plan.Deadline); end != 40*time.Second {
			s.Errorf("the drain that goes on ends at %v, want the 40 s that were left", end)
		}
		if became := paths(report); became["web-1"] != drain.Evicted || became["stuck"] != drain.Forced {
			s.Errorf("pods became %v", became)
		}
		if state := s.node.state(s.T); state == nil || !state.Cordoned || state.Notice != "earlier" {
			s.Errorf("the node carries %+v, want the earlier notice and that the cordon was ours", state)
		}
	})
}

func TestWhatAnEarlierAgentLeftBehind(t *testing.T) {
	t.Parallel()
	none := func(context.Context, time.Duration) ([]Sighting, error) { return nil, nil }
	blind := func(context.Context, time.Duration) ([]Sighting, error) { return nil, errBroken }
	ours := func(cordoned bool) func(*drain.State) {
		return func(state *drain.State) { state.Cordoned = cordoned }
	}
	cases := map[string]struct {
		end      time.Duration
		change   func(*drain.State)
		say      func(context.Context, time.Duration) ([]Sighting, error)
		at       time.Duration
		state    bool
		cordoned bool
	}{
		"of another boot is undone at once, seen or not": {time.Minute, anotherBoot, blind, 0, false, false},
		"of this boot and long past is undone once the source says none": {
			-time.Hour, nil, none, 2 * time.Second, false, false,
		},
		"of this boot and long past stays while its source is blind": {-time.Hour, nil, blind, time.Hour, true, true},
		"of this boot and just past stays for its minute":            {-30 * time.Second, nil, none, 29 * time.Second, true, true},
		"of this boot and just past is undone after its minute":      {-30 * time.Second, nil, none, 32 * time.Second, false, false},
		"on a node that was cordoned before us stays cordoned":       {-time.Hour, ours(false), none, 2 * time.Second, false, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, somePods(), func(s *scene) {
				s.leave(c.end, c.change)
				s.source.say = c.say
				s.begin()
				s.at(c.at)
				if state := s.node.state(s.T); (state != nil) != c.state {
					s.Errorf("the node carries %+v, want any: %v", state, c.state)
				}
				if cordoned := s.node.unschedulable(); cordoned != c.cordoned {
					s.Errorf("cordoned is %v, want %v", cordoned, c.cordoned)
				}
				if reports := s.told.all(); len(reports) > 0 {
					s.Errorf("%d drains were begun for it", len(reports))
				}
			})
		})
	}
}

func TestAnUnreadableStateIsLeftAlone(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		const text = `{"version": 2, "notice": 7}`
		s.node.node.Annotations = map[string]string{drain.StateAnnotation: text}
		s.begin()
		s.at(time.Hour)
		if got := s.node.node.Annotations[drain.StateAnnotation]; got != text {
			s.Errorf("the annotation is %q, want it untouched", got)
		}
		if n := len(s.log.with("Left unreadable state alone")); n != 1 {
			s.Errorf("that was said %d times, want once", n)
		}
		if failing := s.agent.Health.Failing(time.Now()); len(failing) > 0 {
			s.Errorf("the agent is not ready for it: %v", failing)
		}
	})
}

func TestANoticeBeforeTheNodeCanBeReadIsActedOn(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.node.breakDown(errBroken, get)
		s.says(fromThenOn)
		s.begin()
		s.at(seenAt + 5*time.Second)
		if report := s.report(); len(report.Pods) != 3 || !report.Complete() {
			s.Errorf("pods became %v, want all of them moved", paths(report))
		}
	})
}

// The source may be faster than the API server: then the drain has begun when
// the state of the last agent is found.
func TestAStateThatIsFoundDuringADrain(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		left   time.Duration
		change func(*drain.State)
		say    func(s *scene) Sighting
		want   time.Duration
	}{
		"tightens it":                 {40 * time.Second, nil, func(s *scene) Sighting { return s.endsAt(2 * time.Minute) }, 40 * time.Second},
		"does not loosen it":          {2 * time.Minute, nil, func(s *scene) Sighting { return s.endsAt(time.Minute) }, time.Minute},
		"does not end it, being past": {-time.Hour, nil, func(s *scene) Sighting { return s.endsAt(time.Minute) }, time.Minute},
		"does not touch it, being of another boot": {
			20 * time.Second, anotherBoot, func(s *scene) Sighting { return s.endsAt(time.Minute) }, time.Minute,
		},
		"tightens one estimate by an earlier one": {
			20 * time.Second, func(state *drain.State) { state.DeadlineKind = string(Estimated) },
			func(*scene) Sighting { return sighting(time.Now(), time.Time{}) }, 20 * time.Second,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, []*corev1.Pod{newPod("stuck")}, func(s *scene) {
				s.node.closed["stuck"] = true
				s.leave(c.left, c.change)
				s.node.setFault(func(_ context.Context, verb string) error {
					if verb == get {
						<-time.After(2 * time.Second)
					}
					return nil
				})
				s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
					if at < time.Second {
						return nil, nil
					}
					return []Sighting{c.say(s)}, nil
				}
				s.begin()
				s.at(2 * time.Minute)
				report := s.report()
				if end := s.since(report.Plan.Deadline); end != c.want {
					s.Errorf("the drain ends at %v, want %v", end, c.want)
				}
				if diff := paths(report)["stuck"]; diff != drain.Forced {
					s.Errorf("the stuck pod's path is %q, want %q", diff, drain.Forced)
				}
			})
		})
	}
}

// The cordon may be faster than the look at what the last agent left: it finds the
// deadline that was known then.
func TestADeadlineThatTheCordonFindsHolds(t *testing.T) {
	t.Parallel()
	const nearer = 40 * time.Second
	play(t, []*corev1.Pod{newPod("stuck")}, func(s *scene) {
		s.node.closed["stuck"] = true
		s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
			if at < time.Second {
				return nil, nil
			}
			return []Sighting{s.endsAt(endsAt)}, nil
		}
		tracker := Tracker{Node: s.node.Name(), BootID: s.agent.Boot.ID}
		id := tracker.derive(s.source.Provider(), s.endsAt(endsAt))
		s.leave(nearer, func(state *drain.State) { state.Notice = id })
		s.node.breakDown(errBroken, get)
		s.begin()
		s.at(5 * time.Second)
		if got := s.since(s.node.state(s.T).Deadline); got != nearer {
			s.Errorf("the node says that it ends at %v, want the %v that were known", got, nearer)
		}
		s.at(nearer)
		if end := s.since(s.report().Plan.Deadline); end != nearer {
			s.Errorf("the drain ended at %v, want %v", end, nearer)
		}
		if marks := len(s.node.times(mark)); marks > 2 {
			s.Errorf("the node was marked %d times for one deadline", marks)
		}
	})
}

func TestAMachineThatCameBackFromItsMaintenance(t *testing.T) {
	t.Parallel()
	const booted = -time.Hour
	cases := map[string]struct {
		end    time.Duration
		change func(*drain.State)
		get    time.Duration // what the API server takes for an answer
		drains int
	}{
		"is not drained for it again":                                   {booted - time.Minute, nil, 0, 0},
		"is not drained for it where the API server is slow":            {booted - time.Minute, nil, 100 * time.Millisecond, 0},
		"is not drained for it where it began at a moment nobody named": {booted + time.Minute, func(s *drain.State) { s.DeadlineKind = string(Estimated) }, 0, 0},
		"is drained for it where it was rebooted before":                {booted + time.Minute, nil, 0, 1},
		"is drained for it where that ends it":                          {booted - time.Minute, func(s *drain.State) { s.Action = string(Terminate) }, 0, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, somePods(), func(s *scene) {
				s.leave(c.end, func(state *drain.State) {
					anotherBoot(state)
					state.Notice, state.Source, state.Kind, state.Action = "event-1", "test/maintenance", string(Maintenance), string(Reboot)
					if c.change != nil {
						c.change(state)
					}
				})
				s.node.setFault(func(_ context.Context, verb string) error {
					switch verb {
					case get:
						<-time.After(c.get)
					case mark: // which reads the node first
						<-time.After(2 * c.get)
					}
					return nil
				})
				s.announces("maintenance", func(at time.Duration) []Sighting {
					if between(10*time.Minute, 20*time.Minute)(at) {
						return nil
					}
					return []Sighting{s.planned(c.end)}
				})
				s.begin()
				s.at(5 * time.Minute)
				if drains := len(s.node.times(evict)) / 3; drains != c.drains || s.node.unschedulable() != (drains > 0) {
					s.Errorf("it was drained %d times, want %d, and is unschedulable: %v", drains, c.drains, s.node.unschedulable())
				}
				s.at(15 * time.Minute)
				s.isPutBack()
				s.at(20*time.Minute + 10*time.Second)
				if !s.node.unschedulable() {
					s.Error("the same event is ignored when it is announced anew")
				}
			})
		})
	}
}

func TestADrainThatItsSourceHasCalledOffIsNotGoneOnWith(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.leave(5*time.Minute, func(state *drain.State) {
			state.Notice, state.Source, state.Kind = "event-1", "test/maintenance", string(Maintenance)
		})
		s.node.setFault(func(_ context.Context, verb string) error {
			if verb == get {
				<-time.After(time.Second)
			}
			return nil
		})
		source := newScript("maintenance", s.start)
		source.pace.Every = time.Minute
		source.say = func(context.Context, time.Duration) ([]Sighting, error) {
			return []Sighting{s.planned(5*time.Minute, func(s *Sighting) { s.State = Cancelled })}, nil
		}
		s.agent.Sources = append(s.agent.Sources, source)
		s.begin()
		s.at(2 * time.Second)
		s.isPutBack()
		if n := len(s.node.times(evict)); n > 0 {
			s.Errorf("%d pods were evicted", n)
		}
	})
}
