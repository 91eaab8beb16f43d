package agent

import (
	"context"
	"errors"
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

// errLapsed is why a drain or an advice is called off whose notice is no more.
var errLapsed = errors.New("the notice has lapsed")

// advising says whether the current interruption is an advice.
func (l *loop) advising() bool { return l.current != nil && l.current.notice.Advice != "" }

// advise follows the strongest advice that stands, unless one that asks for as much is
// followed already. It waits until what an earlier agent has left is known and undone: an
// advice must not take the place of a drain. A drill is not disturbed for it.
func (l *loop) advise(ctx context.Context, c calling, now time.Time) {
	if !l.adopted || l.lapsing || l.drilling() {
		return
	}
	notice := c.resolved()
	if l.advising() {
		current := l.current.notice
		more := strength[notice.Advice] - strength[current.Advice]
		if more >= 0 {
			l.current.called = now
		}
		ended := !current.Deadline.After(now) || l.calledOff(current)
		if replaces := more > 0 || more == 0 && ended && notice.ID != current.ID; !replaces {
			l.release(ctx, now)
			return
		}
		l.breakAdviceOff(notice)
	}
	l.Log.Info("Noticed advice", append(about(notice), "response", notice.Advice)...)
	l.Metrics.noticed(notice, now)
	l.begin(ctx, notice, now)
}

// breakAdviceOff ends the advice that is followed for a notice that asks for as much or
// more, and goes on from where it is.
func (l *loop) breakAdviceOff(notice Notice) {
	l.Log.Info("Broke advice off", "advice", l.current.notice.ID, "notice", notice.ID)
	l.current.callOff(drain.ErrTakenOver)
	l.current = nil
}

// adviser is an agent that forces nothing, and moves none but critical pods.
func (a *Agent) adviser() *Agent {
	twin := *a
	twin.Policy.Gentle = true
	twin.Policy.HandOver = drain.HandOverAlways
	twin.Policy.Only = &a.Critical
	return &twin
}

// cordonSoftly marks the node and leaves its pods alone.
func (a *Agent) cordonSoftly(ctx context.Context, notice Notice, countdown *drain.Countdown) {
	go a.announce(context.WithoutCancel(ctx), notice)
	cordon := a.cordon(ctx, notice, countdown)
	select {
	case <-cordon.held:
	case <-cordon.ended:
	}
	cordon.end()
}
