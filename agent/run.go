package agent

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

const (
	// lapseAfter is how long past its deadline a notice that vanished is taken
	// for over: a key that is gone for one poll must not undo a drain.
	lapseAfter = time.Minute
	// flickers is how long past its deadline a notice that vanished and came back is
	// taken for the same. The clouds act on a deadline within seconds.
	flickers = 30 * time.Second
	// resolution is the least by which a repeated notice has to move a
	// deadline forward to mean anything: a Date header counts whole seconds.
	resolution = 1500 * time.Millisecond
	// readDelay is the pause between two tries at reading the own node.
	readDelay = 2 * time.Second
	// beatEvery keeps the loop turning while every source is blind.
	beatEvery = 10 * time.Second
)

// interruption is the notice that the node is under, from its first sight until
// it lapses, with what is done about it: a drain, an advice or a drill.
type interruption struct {
	notice    Notice
	countdown *drain.Countdown
	// done is closed when what is done about it has ended.
	done chan struct{}
	// callOff ends that before its time, with a cause.
	callOff context.CancelCauseFunc
	// called is when an open notice last asked for it, firm whether one of those cannot be
	// withdrawn.
	called time.Time
	firm   bool
	// drill is nil for a real one.
	drill *drilling
}

// over says whether the drain has ended and its deadline was before moment.
func (i *interruption) over(moment time.Time) bool {
	select {
	case <-i.done:
	default:
		return false
	}
	budget, _ := i.countdown.Budget()
	return budget.Deadline.Before(moment)
}

// includes says whether a notice that asks for something from that moment on is about the
// same interruption: all are that came before its end, and the same one is no other
// because a reply shortly after lacked it. The node is still marked then, and empty.
func (i *interruption) includes(notice Notice, from time.Time) bool {
	if notice.ID == i.notice.ID {
		from = from.Add(-flickers)
	}
	return !i.over(from)
}

// revocable says whether what is done can be undone before its deadline, for want of a
// notice that asks for it.
func (i *interruption) revocable() bool { return !i.firm && i.notice.revocable() }

// revocable says whether the notice can be withdrawn. That of a spot machine cannot: one
// reply without its key must not undo a drain.
func (n Notice) revocable() bool { return n.Kind != SpotInterruption || n.Advice != "" }

// Run watches until ctx ends. A drain that is under way then goes on to its
// end, as far as the process is let; Run returns after it.
func (a *Agent) Run(ctx context.Context) error {
	a.Expect()
	if a.Pod == "" {
		a.Pod, _ = os.Hostname() // where there is none, the state names nobody
	}
	l := &loop{
		Agent: a, tracker: Tracker{Node: a.Node.Name(), BootID: a.Boot.ID},
		open: map[string][]Notice{}, over: map[string][]string{}, told: map[string]time.Time{}, undone: make(chan undoing),
	}
	observations := make(chan observation)
	found := make(chan *drain.State)

	var background sync.WaitGroup
	background.Go(func() { a.prove(ctx) })
	background.Go(func() { a.readOwnNode(ctx, found) })
	for _, source := range a.Sources {
		background.Go(func() { a.watch(ctx, source, observations) })
	}
	defer background.Wait()
	a.Log.Info("Started", "node", a.Node.Name(), "bootID", a.Boot.ID)

	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		a.Health.Beat(time.Now())
		select {
		case <-ctx.Done():
			l.finish()
			a.Log.Info("Stopped", "node", a.Node.Name())
			return nil
		case o := <-observations:
			l.observe(ctx, o)
		case state := <-found:
			l.adopted = true
			if state != nil {
				l.adopt(ctx, *state)
			}
			l.follow(ctx, time.Now())
		case u := <-l.undone:
			l.settle(u)
		case ask := <-a.Drills.asked():
			ask.answer <- l.answer(ctx, ask)
		case <-l.drillEnded():
			l.forgetDrill(ctx)
		case now := <-ticker.C:
			l.follow(ctx, now)
		}
	}
}

// Expect registers every check that readiness depends on. Run does so at its start;
// whoever has another check to pass before Run calls it first, or the agent would seem
// to be ready in between.
func (a *Agent) Expect() {
	for _, source := range a.Sources {
		a.Health.Expect(checkName(source), source.Pace().BlindAfter)
	}
	for _, check := range []string{nodeCheck, permissionsCheck, cordonCheck} {
		a.Health.Expect(check, 0)
	}
}

// loop is what Run decides on. Only its goroutine touches it.
type loop struct {
	*Agent
	tracker Tracker
	// open holds what each source that has spoken announced last, over the ids of what it
	// said is over.
	open map[string][]Notice
	over map[string][]string
	// told holds when each notice that is only reported was last open.
	told map[string]time.Time
	// survived is a notice that its source may still show though the machine was rebooted
	// by it and came back; the zero value is none.
	survived Notice
	current  *interruption
	// lapsing is true while the node is being put back: from what the current notice did
	// or, without one, from what an earlier one left.
	lapsing bool
	// undone gets the ends of undos, stopUndo ends the one under way.
	undone   chan undoing
	stopUndo context.CancelFunc
	// adopted is true once it is known what an earlier agent left on the node.
	adopted bool
	// lastDrill is the drill that is under way or was the last; nil before the first.
	lastDrill *DrillRun
}

// finish waits for the drain that is under way, if any, and keeps the agent
// alive meanwhile. An advice is left to the next agent.
func (l *loop) finish() {
	if l.current == nil {
		return
	}
	switch {
	case l.drilling():
		defer l.current.drill.stop()()
	case l.advising():
		l.current.callOff(drain.ErrTakenOver) // by the next agent of this node
	}
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.current.done:
			return
		case <-ticker.C:
			l.Health.Beat(time.Now())
		}
	}
}
