package agent

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

func TestADrillIsRefused(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		set func(s *scene)
		// want is in the reason; empty when a drill is begun.
		want string
	}{
		"while the node is under a notice": {
			func(s *scene) { s.says(func(at time.Duration) bool { return at >= time.Second }) }, "the node is under notice",
		},
		"while the node cannot be read":  {func(s *scene) { s.node.breakDown(errBroken, get) }, "not ready: node"},
		"while the agent may not cordon": {func(s *scene) { s.node.breakDown(errBroken, prove) }, "not ready: cordon"},
		"while what another boot left is still to be undone": {func(s *scene) {
			s.leave(time.Minute, anotherBoot)
			s.node.breakDown(errBroken, undo)
		}, "the cordon of SpotInterruption \"earlier\""},
		"while pods are still to be tidied": {func(s *scene) {
			s.leave(time.Minute, anotherBoot)
			s.node.breakDown(errBroken, tidy)
		}, "pods are still to be tidied"},
		"over a state that cannot be read": {func(s *scene) {
			s.node.node.Annotations = map[string]string{drain.StateAnnotation: `{"notice": 7}`}
		}, "what this agent cannot read"},
		"while another agent is in one": {func(s *scene) {
			s.leave(time.Minute, func(state *drain.State) { state.Kind, state.Agent = string(Drill), "ebbtide-agent-0" })
			s.node.agents["ebbtide-agent-0"] = true
		}, "in drill \"earlier\" of pod \"ebbtide-agent-0\""},
		"while it is not known yet what an earlier agent left": {func(s *scene) {
			var asked atomic.Bool
			s.node.setFault(func(_ context.Context, verb string) error {
				if verb == get && !asked.Swap(true) {
					<-time.After(drillAt + time.Second)
				}
				return nil
			})
		}, "has not read yet"},
		"but not because the cloud is not seen": {func(s *scene) {
			s.source.say = func(context.Context, time.Duration) ([]Sighting, error) { return nil, errBroken }
		}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, somePods(), func(s *scene) {
				c.set(s)
				s.begin()
				s.at(drillAt)
				if _, err := s.agent.Drills.Last(s.Context()); !errors.Is(err, ErrDrillRefused) {
					s.Errorf("before any drill the last one is given with %v", err)
				}
				_, _, err := s.agent.Drills.Begin(s.Context(), gentle)
				if errors.Is(err, ErrDrillRefused) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
					s.Errorf("the answer is %v, want %q", err, c.want)
				}
				if _, _, err := s.agent.Drills.Begin(s.Context(), DrillOrder{Notice: time.Second}); err == nil {
					s.Error("a drill of a second was begun")
				}
			})
		})
	}
}

func TestADrillCanBeginWhenWhatWasLeftIsUndone(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.leave(time.Minute, anotherBoot)
		s.node.breakDown(errBroken, undo)
		s.begin()
		s.at(drillAt)
		if why := s.refused(); why == "" {
			s.Error("it was begun before")
		}
		s.node.breakDown(nil)
		s.at(drillAt + readDelay)
		if why := s.refused(); why != "" {
			s.Errorf("it is refused still: %s", why)
		}
	})
}

// An undo that is still to be tried again when somebody else has taken the state off would
// take the drill's own hand-overs back.
func TestADrillEndsTheUndoOfWhatWasBeforeIt(t *testing.T) {
	t.Parallel()
	play(t, withStuckPod(), func(s *scene) {
		s.leave(time.Minute, anotherBoot)
		s.node.closed["stuck"] = true
		s.node.breakDown(errBroken, tidy)
		s.begin()
		s.at(drillAt)
		s.node.mu.Lock()
		delete(s.node.node.Annotations, drain.StateAnnotation)
		s.node.mu.Unlock()
		tries := len(s.node.times(undo))
		if why := s.refused(); why != "" {
			s.Fatalf("there is no drill: %s", why)
		}
		s.at(sparedAt - 2*time.Second)
		if more := len(s.node.times(undo)) - tries; more > 0 {
			s.Errorf("in the drill an undo was tried %d times", more)
		}
	})
}
