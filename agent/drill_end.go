package agent

import (
	"context"
	"errors"
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

// drilling is a drill under way.
type drilling struct {
	run *DrillRun
	// whole is the context of all that the drill does, moving that of its drain, which
	// is called off when the agent stops: the node is put back all the same.
	whole, moving context.Context //nolint:containedctx // they are the drill's life
	end           context.CancelCauseFunc
	callOff       context.CancelFunc
	// untidy is true when pods are left to be tidied; to be read after the drill's end.
	untidy bool
}

const (
	// putBackLimit is how long an agent that is told to stop tries to put its node back.
	// What it leaves the next agent finds.
	putBackLimit = 10 * time.Second
	// tidyTries is how often a drill tries to tidy the pods of a node that is put back
	// before it ends without: whoever follows it wants to know.
	tidyTries = 3
)

// errNotOurs is why a drill leaves its node as it is: an agent beside this one, which has
// heard of a notice before this one has, took the node over.
var errNotOurs = errors.New("the node carries the state of another drain by now, and is left to that")

// rehearse tells the plan, and touches nothing.
func (d *drilling) rehearse(a *Agent, of *interruption) {
	defer d.run.end()
	defer d.end(nil)
	if _, _, err := a.plan(d.moving, of.notice, a.Node.Watch(d.moving), of.countdown); err != nil {
		d.run.add(DrillEvent{Step: DrillFailed, Err: err.Error()})
	}
}

// putBack undoes what the drill did to the node and its pods. It tries until the node is
// as it was before, and some times more for the pods. It leaves everything as it is
// where a real notice has taken over.
func (d *drilling) putBack(a *Agent, notice Notice) {
	defer d.run.end()
	defer d.end(nil)
	var untidy error // what is in the way of pods, once the node is back
	tidying := 0
	for pause := time.Duration(0); d.whole.Err() == nil; {
		back, err := a.tryUndo(d.whole, func(found drain.State) bool {
			return Kind(found.Kind) == Drill && found.Notice == notice.ID
		})
		if err == nil {
			d.run.add(lastWord(back))
			return
		}
		if back {
			untidy = err
			if tidying++; tidying == tidyTries {
				break
			}
		}
		if d.whole.Err() == nil {
			if untidy == nil {
				a.Log.Error("Left drill in place for now", "node", a.Node.Name(), "notice", notice.ID, "err", err)
			}
			d.run.add(DrillEvent{Step: DrillFailed, Err: err.Error()})
		}
		pause = nextPause(pause, untidy != nil)
		select {
		case <-time.After(pause):
		case <-d.whole.Done():
		}
	}
	if untidy != nil && !errors.Is(context.Cause(d.whole), drain.ErrTakenOver) {
		d.untidy = true
		d.run.add(DrillEvent{Step: DrillPutBack, Err: untidy.Error()})
	}
}

// lastWord ends a drill of which nothing is left, or nothing that is its own.
func lastWord(back bool) DrillEvent {
	if !back {
		return DrillEvent{Step: DrillFailed, Err: errNotOurs.Error()}
	}
	return DrillEvent{Step: DrillPutBack}
}

// stop calls the drill off, because the agent stops, and bounds how long the node is
// put back. What it returns ends that bound.
func (d *drilling) stop() (unbound func() bool) {
	d.callOff()
	return time.AfterFunc(putBackLimit, func() { d.end(context.Canceled) }).Stop
}
