package agent

import (
	"context"
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

// cordoning is the cordon of one drain under way.
type cordoning struct {
	// held is closed once the node is marked.
	held chan struct{}

	stop context.CancelFunc
	// ended is closed when nothing is written any more; outcome is read after.
	ended   chan struct{}
	outcome drain.CordonOutcome
}

// cordon begins to mark the node for notice and returns at once. It writes the
// state anew when the deadline is tightened, until it is ended.
func (a *Agent) cordon(ctx context.Context, notice Notice, countdown *drain.Countdown) *cordoning {
	ctx, stop := context.WithCancel(ctx)
	c := &cordoning{held: make(chan struct{}), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		for first := true; ; first = false {
			budget, tightened := countdown.Budget()
			written, outcome := drain.Cordon(ctx, a.Node, a.state(notice, budget))
			// The first cordon is the one that counts; a later one only tightens.
			if first {
				c.outcome = outcome
			}
			if outcome.Done.IsZero() {
				a.leftUncordoned(notice, outcome)
				return
			}
			if first {
				close(c.held)
				a.cordoned(notice, outcome)
			}
			a.heed(written, notice, countdown)
			select {
			case <-tightened:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

// cordoned tells that the node is marked, which for an advice is no cordon.
func (a *Agent) cordoned(notice Notice, outcome drain.CordonOutcome) {
	took := outcome.Done.Sub(notice.FirstSeen).Seconds()
	if notice.Advice != "" {
		a.Log.Info("Marked node softly", "node", a.Node.Name(), "notice", notice.ID, "took", took)
		return
	}
	a.Log.Info("Cordoned node", "node", a.Node.Name(), "notice", notice.ID, "took", took, "ours", outcome.Ours)
	a.drill.cordoned(outcome)
}

// leftUncordoned tells of an error only where the node ends: on an advice pods may go on to
// come, and be well, and a drain may have taken it over before the node was marked.
func (a *Agent) leftUncordoned(notice Notice, outcome drain.CordonOutcome) {
	if notice.Advice != "" {
		a.Log.Warn("Left node unmarked", "node", a.Node.Name(), "notice", notice.ID, "err", outcome.Err)
		return
	}
	a.Log.Error("Left node uncordoned", "node", a.Node.Name(), "notice", notice.ID, "err", outcome.Err)
}

// heed tightens the countdown to the deadline that the node carries: an earlier
// agent may have known a nearer one, and have died before it could be asked.
func (a *Agent) heed(written drain.State, notice Notice, countdown *drain.Countdown) {
	now := time.Now()
	deadline, _ := written.OnBoot(now, a.Boot)
	if budget, _ := countdown.Budget(); deadline.After(budget.Deadline.Add(-resolution)) {
		return
	}
	if countdown.Tighten(deadline, now) {
		a.Log.Info("Tightened deadline", "notice", notice.ID, "by", written.Notice, "deadline", deadline)
	}
}

// state is what the node shall carry for notice.
func (a *Agent) state(notice Notice, budget drain.Budget) drain.State {
	state := drain.State{
		Notice: notice.ID, Source: notice.Source, Kind: string(notice.Kind),
		Action: string(notice.Action), DeadlineKind: string(notice.DeadlineKind), Agent: a.Pod,
		Advice: string(notice.Advice),
	}
	state.SetDeadline(budget.Deadline, time.Now(), a.Boot)
	return state
}

// end stops the cordon where it is and says how it went: one that still had no
// success has its last error by then.
func (c *cordoning) end() drain.CordonOutcome {
	c.stop()
	<-c.ended
	return c.outcome
}

// wait returns when the node is marked, or after limit.
func (c *cordoning) wait(limit time.Duration) {
	select {
	case <-c.held:
	case <-time.After(limit):
	}
}
