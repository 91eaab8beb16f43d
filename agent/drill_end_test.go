package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/drain"
)

func TestADrillThatItsAgentDidNotOutliveIsUndoneByTheNext(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.leave(time.Minute, func(state *drain.State) { state.Kind, state.Source = string(Drill), drillSource })
		s.begin()
		s.at(drillAt)
		s.isPutBack()
		run, err := s.agent.Drills.Last(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		if diff := cmp.Diff([]DrillStep{DrillBegan, DrillPutBack}, s.steps(run)); diff != "" {
			s.Errorf("steps (-want +got):\n%s", diff)
		}
		if evictions := s.node.times(evict); len(evictions) > 0 {
			s.Errorf("%d pods were evicted for it", len(evictions))
		}
	})
}

func TestAnAgentThatIsStoppedInADrillPutsTheNodeBackFirst(t *testing.T) {
	t.Parallel()
	play(t, withStuckPod(), func(s *scene) {
		s.node.closed["stuck"] = true
		s.drills(gentle)
		s.at(drillAt + 10*time.Second)
		s.stop()
		<-s.ended
		if took := time.Since(s.start) - drillAt; took > 12*time.Second {
			s.Errorf("the agent stopped %v after the drill began", took)
		}
		s.isPutBack()
		if became := paths(s.report())["stuck"]; became != drain.CalledOff {
			s.Errorf("the stuck pod's path is %s, want %s", became, drain.CalledOff)
		}
	})
}

func TestAnAgentThatIsStoppedAndCannotPutItsNodeBackLeavesItToTheNext(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.drills(gentle)
		s.node.breakDown(errBroken, undo)
		s.at(drillAt + 10*time.Second)
		s.stop()
		<-s.ended
		if took := time.Since(s.start) - drillAt; took > 21*time.Second {
			s.Errorf("the agent stopped %v after the drill began", took)
		}
		if state := s.node.state(s.T); state == nil || state.Kind != string(Drill) {
			s.Errorf("the node carries %+v, want what the next agent needs to know", state)
		}
	})
}

// What a third party refuses on a pod shall keep no node closed.
func TestADrillPutsItsNodeBackThoughPodsCannotBeTidied(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.node.breakDown(errBroken, tidy)
		run := s.drills(gentle)
		s.at(drillAt + 20*time.Second)
		state := s.node.state(s.T)
		if s.node.unschedulable() || state == nil || !state.PutBack {
			s.Errorf("the node is unschedulable: %v, and carries %+v; want it put back, and what is left", s.node.unschedulable(), state)
		}
		steps := s.steps(run)
		if last := steps[len(steps)-1]; last != DrillPutBack || !slices.Contains(steps, DrillFailed) {
			s.Errorf("the drill ended with %v", steps)
		}
		if tries := len(s.node.times(tidy)); tries < tidyTries {
			s.Errorf("pods were tidied %d times, want %d before the drill ends", tries, tidyTries)
		}
		if err := s.refused(); err == "" {
			s.Error("another drill was begun over what is left of the first")
		}
		s.at(time.Hour)
		if tries := len(s.node.times(tidy)); tries < 60 || tries > 80 {
			s.Errorf("pods were tidied %d times in an hour, want about one try a minute", tries)
		}
		s.node.breakDown(nil)
		s.at(time.Hour + tidyPause)
		s.isPutBack()
		if why := s.refused(); why != "" {
			s.Errorf("when everything is tidied a drill is refused: %s", why)
		}
	})
}

// refused orders a drill and says why there is none; empty when it was begun.
func (s *scene) refused() string {
	s.Helper()
	_, begun, err := s.agent.Drills.Begin(s.Context(), gentle)
	switch {
	case err != nil:
		return err.Error()
	case !begun:
		return "one is under way"
	}
	return ""
}

func TestAnAgentThatIsStoppedLeavesPodsThatItCannotTidyToTheNext(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.node.breakDown(errBroken, tidy)
		run := s.drills(gentle)
		s.at(drillAt + 2*time.Second)
		s.stop()
		<-s.ended
		if state := s.node.state(s.T); state == nil || !state.PutBack || s.node.unschedulable() {
			s.Errorf("the node carries %+v, unschedulable: %v; want it put back, and what the next agent needs to know",
				state, s.node.unschedulable())
		}
		if steps := s.steps(run); !slices.Contains(steps, DrillPutBack) {
			s.Errorf("the drill ended with %v, want to hear that the node is put back", steps)
		}
	})
}

func TestPodsThatAnEarlierAgentCouldNotTidyAreTidiedAtOnce(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]Kind{"after a drill": Drill, "after an interruption": SpotInterruption} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, somePods(), func(s *scene) {
				registry := prometheus.NewRegistry()
				s.agent.Metrics = NewMetrics(registry, s.agent.Sources)
				s.leave(time.Minute, func(state *drain.State) { state.Kind, state.PutBack, state.Cordoned = string(kind), true, false })
				s.node.node.Spec.Unschedulable = false
				s.begin()
				s.at(time.Second)
				s.isPutBack()
				if got := series(s.T, registry)["ebbtide_node_interrupted"]; got != 0 {
					s.Error("the node is said to be under a notice")
				}
				if reports := s.told.all(); len(reports) > 0 {
					s.Errorf("%d drains were begun for it", len(reports))
				}
			})
		})
	}
}

func TestAPodThatCannotBeTidiedKeepsNoNoticeAlive(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		registry := prometheus.NewRegistry()
		s.agent.Metrics = NewMetrics(registry, s.agent.Sources)
		s.node.breakDown(errBroken, tidy)
		s.says(between(seenAt, 20*time.Second))
		s.begin()
		s.at(lapsedAt)
		if s.node.unschedulable() {
			s.Error("the node stays closed for a pod")
		}
		if got := series(s.T, registry)["ebbtide_node_interrupted"]; got != 0 {
			s.Error("the node is still said to be under a notice")
		}
		s.node.breakDown(nil)
		s.at(lapsedAt + tidyPause)
		s.isPutBack()
	})
}

// A surge of the DaemonSet brings the next agent before this one has gone.
func TestADrillIsLeftToItsAgentWhileThatOneRuns(t *testing.T) {
	t.Parallel()
	const before = "ebbtide-agent-0"
	play(t, somePods(), func(s *scene) {
		s.leave(10*time.Minute, func(state *drain.State) { state.Kind, state.Source, state.Agent = string(Drill), drillSource, before })
		s.node.agents[before] = true
		s.begin()
		s.at(time.Minute)
		if state := s.node.state(s.T); state == nil || state.PutBack || !s.node.unschedulable() {
			s.Errorf("the drill of another agent was ended: the node carries %+v", state)
		}
		if failing := s.agent.Health.Failing(time.Now()); len(failing) > 0 {
			s.Errorf("the agent is not ready for it, and would never be rolled out: %v", failing)
		}
		if why := s.refused(); why == "" {
			s.Error("a second drill was begun beside the first")
		}
		s.node.mu.Lock()
		delete(s.node.agents, before)
		s.node.mu.Unlock()
		s.at(time.Minute + readDelay)
		s.isPutBack()
	})
}

// The agent that a surge of the DaemonSet brings may hear of a notice first.
func TestADrillSaysThatItsNodeIsAnothersByNow(t *testing.T) {
	t.Parallel()
	play(t, somePods(), func(s *scene) {
		s.node.closed["web-1"] = true
		run := s.drills(gentle)
		s.node.mu.Lock()
		s.node.write(drain.State{Notice: "real", Kind: string(SpotInterruption), Cordoned: true})
		s.node.mu.Unlock()
		s.at(drillEnds)
		steps := s.steps(run)
		if slices.Contains(steps, DrillPutBack) || steps[len(steps)-1] != DrillFailed {
			s.Errorf("the drill ended with %v, want to hear that nothing was put back", steps)
		}
		if state := s.node.state(s.T); state == nil || state.Notice != "real" || !s.node.unschedulable() {
			s.Errorf("the node carries %+v, want the drain of the other", state)
		}
	})
}

func TestARealNoticeIsActedOnBesideTheDrillOfAnotherAgent(t *testing.T) {
	t.Parallel()
	const before = "ebbtide-agent-0"
	play(t, somePods(), func(s *scene) {
		s.leave(10*time.Minute, func(state *drain.State) { state.Kind, state.Source, state.Agent = string(Drill), drillSource, before })
		s.node.agents[before] = true
		s.says(fromThenOn)
		s.begin()
		s.at(seenAt + 10*time.Second)
		if state := s.node.state(s.T); state == nil || state.Kind != string(SpotInterruption) || !state.Cordoned {
			s.Errorf("the node carries %+v, want the real notice on a cordon of ours", state)
		}
		if report := s.report(); !report.Complete() {
			s.Errorf("pods became %v", paths(report))
		}
	})
}
