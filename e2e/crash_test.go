package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// mixture is a node's worth of workloads of every temper: 16 pods.
func (s *scene) mixture() {
	s.t.Helper()
	s.run(16,
		pods{name: "web", replicas: 8, grace: 5 * time.Second, exits: 2 * time.Second}.manifest(s), budget("web", "web", "maxUnavailable", "2"),
		pods{name: "single", replicas: 1, grace: 10 * time.Second, exits: 8 * time.Second}.manifest(s), budget("single", "single", "minAvailable", "1"),
		pods{name: "db", kind: "StatefulSet", replicas: 2, grace: 8 * time.Second, exits: 6 * time.Second}.manifest(s),
		pods{name: "bare", kind: "Pod"}.manifest(s),
		pods{name: "long", replicas: 2, grace: 5 * time.Minute, exits: 20 * time.Second}.manifest(s),
		pods{name: "dns", replicas: 2, labels: "app.kubernetes.io/component: webhook"}.manifest(s))
}

func TestAnAgentThatIsKilledInTheMiddleOfADrainLeavesItToTheNext(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{200 * time.Millisecond, time.Second, 5 * time.Second, 15 * time.Second} {
		t.Run(fmt.Sprintf("killed %s into the drain", after), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, lab.Shared(t))
			s.mixture()
			first := s.ready()
			s.interrupt(40 * time.Second)
			_, err := first.WaitLog(s.within(5*time.Second), "Noticed interruption")
			s.must(err)
			<-time.After(after)
			s.must(first.Kill())

			report := s.report(s.start(), 45*time.Second)
			if !report.Complete() {
				t.Errorf("the second agent left pods behind: %+v", report.Pods)
			}
			s.noneLost()
			s.toldOnce()
		})
	}
}

func TestAnAgentThatIsToldToStopFinishesItsDrainFirst(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.mixture()
	a := s.ready()
	s.interrupt(40 * time.Second)
	_, err := a.WaitLog(s.within(5*time.Second), "Planned drain")
	s.must(err)
	s.must(a.Terminate())
	report := s.report(a, 45*time.Second)
	if !report.Complete() {
		t.Errorf("pods were left behind: %+v", report.Pods)
	}
	code, err := a.Wait(s.within(5 * time.Second))
	s.must(err)
	if code != 0 {
		t.Errorf("the agent ended with exit code %d, want 0", code)
	}
	s.noneLost()
}

func TestAnIdleAgentStopsAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	a := s.ready()
	s.must(a.Terminate())
	code, err := a.Wait(s.within(5 * time.Second))
	s.must(err)
	if code != 0 {
		t.Errorf("the agent ended with exit code %d, want 0", code)
	}
}

func TestADrainOutlivesAnAPIServerThatGoesAwayForFifteenSeconds(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]struct {
		leave    func(*lab.Lab, lab.Component) error
		comeBack func(*lab.Lab, context.Context, lab.Component) error
	}{
		"it is killed and starts again": {(*lab.Lab).Kill, (*lab.Lab).Restart},
		"it hangs and wakes up": {
			(*lab.Lab).Pause,
			func(l *lab.Lab, _ context.Context, c lab.Component) error { return l.Resume(c) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			s := newScene(t, l)
			s.mixture()
			a := s.ready()
			s.interrupt(60 * time.Second)
			_, err := a.WaitLog(s.within(5*time.Second), "Planned drain")
			s.must(err)
			<-time.After(500 * time.Millisecond)
			s.must(away.leave(l, lab.APIServer))
			<-time.After(15 * time.Second)
			s.must(away.comeBack(l, t.Context(), lab.APIServer))

			report := s.report(a, 60*time.Second)
			if report.Count(drain.Lost) > 0 {
				t.Errorf("pods were left behind: %+v", report.Pods)
			}
			s.noneLost()
		})
	}
}
