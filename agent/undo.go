package agent

import (
	"context"
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

const (
	// undoTimeout bounds one try to take back what a drain did. A pod whose ReplicaSet
	// has yet to choose takes two seconds of it; several are seen to at a time.
	undoTimeout = 30 * time.Second
	// tidyPause is the longest pause between two tries to tidy pods. What is in the way
	// there is somebody else's and may stay for days; nothing waits for it.
	tidyPause = time.Minute
)

// undoing is the end of an undo, as far as the node goes.
type undoing struct {
	// of is the interruption that lapsed; nil for what was left by one that never was
	// current, or is no more.
	of *interruption
	// early is true when the node's state speaks of a deadline that is not long
	// past: one that was tightened after its drain had ended.
	early bool
}

// settle forgets an interruption that was undone, unless another has come
// meanwhile.
func (l *loop) settle(u undoing) {
	if u.of != l.current {
		return
	}
	l.lapsing = false
	if !u.early {
		l.current = nil
		l.Metrics.lapsed()
	}
}

// undo takes back what a drain did to the node and its pods, in the background, trying
// until it has or ctx ends. The loop is told when the node is as it was before: the
// notice is over then, whatever is in the way of a pod.
func (l *loop) undo(ctx context.Context, of *interruption) {
	l.endUndo()
	l.lapsing = true
	ctx, l.stopUndo = context.WithCancel(ctx)
	go l.keepUndoing(ctx, of)
}

// endUndo ends the undo that is under way, if any. A drain that begins does so first: what
// would be taken back next may be that drain's.
func (l *loop) endUndo() {
	l.lapsing = false
	if l.stopUndo != nil {
		l.stopUndo()
	}
}

func (l *loop) keepUndoing(ctx context.Context, of *interruption) {
	if of != nil {
		select {
		case <-of.done: // what was called off may still be writing
		case <-ctx.Done():
		}
	}
	pause, told := time.Duration(0), false
	for ctx.Err() == nil {
		early, back, err := l.undoLapsed(ctx, of)
		if (back || err == nil) && !told {
			told = true
			select {
			case l.undone <- undoing{of, early}:
			case <-ctx.Done():
			}
		}
		if err == nil {
			return
		}
		if !told && ctx.Err() == nil {
			l.Log.Error("Left cordon in place for now", "node", l.Node.Name(), "err", err)
		}
		pause = nextPause(pause, told)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// undoLapsed tries once to undo what is true no more: what of has done, an advice that it
// took over with a cordon that never held, and whatever is stale; early says that it is too
// early for that.
func (l *loop) undoLapsed(ctx context.Context, of *interruption) (early, back bool, err error) {
	back, err = l.tryUndo(ctx, func(found drain.State) bool {
		withdrawn := of != nil && (found.Advice != "" || found.Notice == of.notice.ID && of.revocable())
		early = !withdrawn && !l.stale(found)
		return !early
	})
	return early, back, err
}

// tryUndo tries once. back says that the node is as it was before; an error beside it is
// about its pods.
func (a *Agent) tryUndo(ctx context.Context, may func(drain.State) bool) (back bool, err error) {
	ask, cancel := context.WithTimeout(ctx, undoTimeout)
	defer cancel()
	back, err = a.Node.UndoDrain(ask, may)
	switch {
	case back && err == nil:
		a.Log.Info("Put node back", "node", a.Node.Name())
	case back && ctx.Err() == nil:
		a.Log.Error("Put node back and left pods untidy for now", "node", a.Node.Name(), "err", err)
	}
	return back, err
}

// nextPause is how long is waited after another failure, the pause before having been
// last. The node is tried for again soon, pods ever later.
func nextPause(last time.Duration, back bool) time.Duration {
	if !back || last == 0 {
		return readDelay
	}
	return min(2*last, tidyPause)
}

// stale says whether a state found on the node speaks of nothing that is still
// true: of another boot, or of a deadline that is long past. A drain that has
// begun since is neither.
func (l *loop) stale(found drain.State) bool {
	now := time.Now()
	deadline, same := found.OnBoot(now, l.Boot)
	return !same || deadline.Before(now.Add(-lapseAfter))
}
