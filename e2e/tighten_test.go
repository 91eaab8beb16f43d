package e2e

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestASecondNoticeThatComesNearerHastensTheDrain(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "single", replicas: 1, grace: 4 * time.Second, asks: stays}.manifest(s),
		budget("single", "single", "minAvailable", "1"))
	a := s.ready()
	s.interrupt(90 * time.Second)
	s.must(s.lab.WaitNode(s.within(5*time.Second), s.doomed.Name(), cordoned))
	before, err := drain.ReadState(s.node())
	s.must(err)
	s.interrupt(25 * time.Second)
	report := s.report(a, 30*time.Second)

	// 25 s, less 5 s of the reserve of the first notice and 4 s of grace.
	got := outcome(t, report, "single")
	if told := got.ToldAt.Sub(s.noticed); got.Path != drain.Forced || got.GraceGiven != 4 || told < 13*time.Second || told > 19*time.Second {
		t.Errorf("the pod was %s after %s with %d s of grace, want %s after about 16 s with its 4 s", got.Path, told, got.GraceGiven, drain.Forced)
	}
	after, err := drain.ReadState(s.node())
	s.must(err)
	if nearer := before.DeadlineUptime - after.DeadlineUptime; nearer < 55 || nearer > 66 || after.Notice != before.Notice {
		t.Errorf("the node says %+v, want the deadline of %+v about a minute nearer", after, before)
	}
	s.noneLost()
	s.toldOnce()
}

// The next agent cordons with the deadline that it reads, which is the later one: it
// may not have read its node by then.
func TestADeadlineThatWasTightenedHoldsForTheNextAgent(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "single", replicas: 1, grace: 4 * time.Second, asks: stays}.manifest(s),
		budget("single", "single", "minAvailable", "1"))
	first := s.ready()
	s.interrupt(30 * time.Second)
	deadline := s.noticed.Add(30 * time.Second)
	s.must(s.lab.WaitNode(s.within(5*time.Second), s.doomed.Name(), cordoned))
	before, err := drain.ReadState(s.node())
	s.must(err)
	s.must(first.Kill())
	s.imds.Interrupt("terminate", s.noticed.Add(100*time.Second))
	report := s.report(s.start(), 35*time.Second)

	after, err := drain.ReadState(s.node())
	s.must(err)
	if later := after.DeadlineUptime - before.DeadlineUptime; later > .01 {
		t.Errorf("the next agent wrote a deadline that is %v s later", later)
	}
	if off := report.Plan.Deadline.Sub(deadline).Abs(); off > 3*time.Second {
		t.Errorf("the drain's deadline is %s off the one that was known", off)
	}
	s.noneLost()
	s.toldOnce()
}
