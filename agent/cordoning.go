package agent

import (
	"context"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

// cordoning is the cordon of one drain under way.
type cordoning struct {
	// held is closed once the node is marked.
	held chan struct{}

	mu   sync.Mutex
	last drain.CordonOutcome
}

// cordon begins to mark the node for notice and returns at once. It writes the
// state anew when the deadline is tightened, and ends with ctx.
func (a *Agent) cordon(ctx context.Context, notice Notice, countdown *drain.Countdown) *cordoning {
	c := &cordoning{held: make(chan struct{})}
	go func() {
		for first := true; ; first = false {
			budget, tightened := countdown.Budget()
			outcome := drain.Cordon(ctx, a.Node, a.state(notice, budget))
			c.set(outcome)
			if outcome.Done.IsZero() {
				a.Log.Error("Left node uncordoned", "node", a.Node.Name(), "notice", notice.ID, "err", outcome.Err)
				return
			}
			if first {
				close(c.held)
				a.Log.Info("Cordoned node", "node", a.Node.Name(), "notice", notice.ID,
					"took", outcome.Done.Sub(notice.FirstSeen).Seconds(), "ours", outcome.Ours)
			}
			select {
			case <-tightened:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

// state is what the node shall carry for notice.
func (a *Agent) state(notice Notice, budget drain.Budget) drain.State {
	state := drain.State{
		Notice: notice.ID, Source: notice.Source, Kind: string(notice.Kind),
		Action: string(notice.Action), DeadlineKind: string(notice.DeadlineKind),
	}
	state.SetDeadline(budget.Deadline, time.Now(), a.Boot)
	return state
}

func (c *cordoning) set(outcome drain.CordonOutcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The first cordon is the one that counts; a later one only tightens.
	if c.last.Done.IsZero() {
		c.last = outcome
	}
}

func (c *cordoning) outcome() drain.CordonOutcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// wait returns when the node is marked, or after limit.
func (c *cordoning) wait(limit time.Duration) {
	select {
	case <-c.held:
	case <-time.After(limit):
	}
}
