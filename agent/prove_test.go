package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/drain"
)

func TestAnIdleAgentAsksTheAPIServerAtMostOnceInFiveMinutes(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.source.pace.Every = 10 * time.Second // nothing of this depends on it
		s.begin()
		s.at(24 * time.Hour)
		// At its start it reads its node and asks for its permissions, once.
		if read, reviewed := len(s.node.times(get)), len(s.node.times(review)); read != 1 || reviewed != 1 {
			s.Errorf("in a day it read its node %d times and its permissions %d times", read, reviewed)
		}
		rehearsals := s.node.times(prove)
		if all := s.node.times(); len(all) != len(rehearsals)+2 {
			s.Errorf("%d requests were made, of which %d rehearsals", len(all), len(rehearsals))
		}
		for i, at := range rehearsals[1:] {
			if pause := at.Sub(rehearsals[i]); pause < 5*time.Minute || pause > 6*time.Minute {
				s.Errorf("rehearsal %d comes %v after the one before, want a little more than 5 minutes", i+1, pause)
			}
		}
		if len(s.agent.Health.Failing(time.Now())) > 0 {
			s.Errorf("after a day it is not ready:\n%s", s.agent.Health.Describe(time.Now()))
		}
	})
}

func TestAPermissionThatLacksIsNamedUntilItIsGranted(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.node.lacks = []drain.Permission{{Verb: "delete", Resource: "pods", Why: "to tell a pod to stop"}}
		s.begin()
		s.at(time.Hour)
		failing := s.agent.Health.Failing(time.Now())
		if err := failing[permissionsCheck]; err == nil || !strings.Contains(err.Error(), "delete pods (to tell a pod to stop)") {
			s.Errorf("the check says %v, want the permission and what for", err)
		}
		if err := failing[cordonCheck]; !errors.Is(err, errPending) {
			s.Errorf("the rehearsal says %v, want that it waits", err)
		}
		s.node.mu.Lock()
		s.node.lacks = nil
		s.node.mu.Unlock()
		s.at(time.Hour + 15*time.Second)
		if failing := s.agent.Health.Failing(time.Now()); len(failing) > 0 {
			s.Errorf("a quarter of a minute after the grant it is not ready: %v", failing)
		}
		told := 0
		for _, line := range s.log.checks() {
			if strings.HasPrefix(line, "failed "+permissionsCheck) {
				told++
			}
		}
		if told != 1 {
			s.Errorf("the log says %d times what is missing, want once", told)
		}
	})
}

func TestANodeThatIsUnknownIsSaidOnceAndWaitedFor(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		created := s.node.node
		s.node.node = nil
		s.begin()
		s.at(time.Hour)
		if err := s.agent.Health.Failing(time.Now())[nodeCheck]; err == nil || err.Error() != errUnknownNode("node-1").Error() {
			s.Errorf("the check says %v", err)
		}
		s.node.mu.Lock()
		s.node.node = created
		s.node.mu.Unlock()
		s.at(time.Hour + 15*time.Second)
		if failing := s.agent.Health.Failing(time.Now()); len(failing) > 0 {
			s.Errorf("a quarter of a minute after the node came it is not ready: %v", failing)
		}
		var told []string
		for _, line := range s.log.checks() {
			if strings.Contains(line, "node") {
				told = append(told, line)
			}
		}
		want := []string{"failed node: " + errUnknownNode("node-1").Error(), "passed node"}
		if diff := cmp.Diff(want, told); diff != "" {
			s.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestReadinessFollowsTheAPIServer(t *testing.T) {
	t.Parallel()
	cases := map[string]func(ctx context.Context, verb string) error{
		"that refuses": func(context.Context, string) error { return errBroken },
		"that hangs": func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		},
	}
	for name, fault := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, nil, func(s *scene) {
				s.begin()
				s.at(time.Minute)
				s.node.setFault(fault)
				s.at(7 * time.Minute)
				if err := s.agent.Health.Failing(time.Now())[cordonCheck]; err == nil {
					s.Error("the agent is ready without an API server")
				}
				s.node.setFault(nil)
				s.at(7*time.Minute + 18*time.Second)
				if failing := s.agent.Health.Failing(time.Now()); len(failing) > 0 {
					s.Errorf("the API server is back and the agent not ready: %v", failing)
				}
			})
		})
	}
}

// A check that fails only because the agent ends would be the last line of a
// log, and wrong.
func TestStoppingIsNoFailure(t *testing.T) {
	t.Parallel()
	play(t, nil, func(s *scene) {
		s.node.setFault(func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		})
		s.begin()
		s.at(time.Second)
		s.stop()
		<-s.ended
		for _, line := range s.log.checks() {
			if strings.HasPrefix(line, "failed") {
				s.Errorf("the log says %q", line)
			}
		}
	})
}
