package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

const (
	// faultLasts is how long each fault is in the way.
	faultLasts = time.Minute
	// actsWithin is how soon after a notice has become readable the node must be
	// cordoned.
	actsWithin = 2500 * time.Millisecond
	// stagger keeps the notices of many scenes apart: the control plane has two
	// cores, and none of this is about storms.
	stagger = 500 * time.Millisecond
)

// It is not parallel to other tests: every fault has an agent, and they are all
// under way at the same time.
//
//nolint:tparallel // see above
func TestAnAgentOutlivesEveryFaultOfTheMetadataServiceAndActsOnTheNoticeThatFollows(t *testing.T) {
	for i, fault := range awstest.Faults() {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			s := newQuietScene(t, lab.Shared(t))
			a := s.ready()
			s.imds.ResetRequests()
			if err := s.imds.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			<-time.After(faultLasts + time.Duration(i)*stagger)

			s.checkReadiness(a, fault)
			// The faults that let a notice be seen stay: it must be acted on as it is.
			if fault.Effect() != awstest.Shows {
				if err := s.imds.ClearFault(); err != nil {
					t.Fatal(err)
				}
			}
			s.imds.Interrupt("terminate", time.Now().Add(2*time.Minute))
			readable := time.Now()
			s.must(s.lab.WaitNode(s.within(20*time.Second), s.doomed.Name(), cordoned))
			if took := time.Since(readable); took > actsWithin {
				t.Errorf("the node was cordoned %s after the notice was readable, want at most %s", took, actsWithin)
			}
			if most := s.imds.Peak(10 * time.Second); most > 30 {
				t.Errorf("the agent sent %d metadata requests in ten seconds, want at most 30", most)
			}
			select {
			case <-a.Exited():
				t.Errorf("the agent ended:\n%s", a.Output())
			default:
			}
		})
	}
}

// checkReadiness holds /readyz to what a careful agent can know under fault.
func (s *scene) checkReadiness(a *agentrun.Agent, fault awstest.Fault) {
	s.t.Helper()
	code, body, err := a.Readyz(s.t.Context())
	s.must(err)
	blind := strings.Contains(body, "[-] source/aws-spot")
	if want := fault.Blinds(); blind != want || (code != 200) != want {
		s.t.Errorf("the agent says that it is blind: %t, want %t; /readyz answers %d:\n%s", blind, want, code, body)
	}
}
