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
	// resolution is the least by which a repeated notice has to move a
	// deadline forward to mean anything: a Date header counts whole seconds.
	resolution = 1500 * time.Millisecond
	// readDelay is the pause between two tries at reading the own node.
	readDelay = 2 * time.Second
	// beatEvery keeps the loop turning while every source is blind.
	beatEvery = 10 * time.Second
)

// interruption is the notice that the node is under, from its first sight until
// it lapses.
type interruption struct {
	notice    Notice
	countdown *drain.Countdown
	// done is closed when its drain has ended.
	done chan struct{}
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

// Run watches until ctx ends. A drain that is under way then goes on to its
// end, as far as the process is let; Run returns after it.
func (a *Agent) Run(ctx context.Context) error {
	a.expect()
	if a.Pod == "" {
		a.Pod, _ = os.Hostname() // where there is none, the state names nobody
	}
	l := &loop{Agent: a, tracker: Tracker{Node: a.Node.Name(), BootID: a.Boot.ID}, undone: make(chan undoing)}
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
		case u := <-l.undone:
			l.settle(u)
		case ask := <-a.Drills.asked():
			ask.answer <- l.answer(ctx, ask)
		case <-l.drillEnded():
			l.forgetDrill(ctx)
		case <-ticker.C:
		}
	}
}

// expect registers every check that readiness depends on.
func (a *Agent) expect() {
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
	current *interruption
	// lapsing is true while what the current notice did is being undone.
	lapsing bool
	// undone gets the ends of undos, stopUndo ends the one under way.
	undone   chan undoing
	stopUndo context.CancelFunc
	// adopted is true once it is known what an earlier agent left on the node.
	adopted bool
	// lastDrill is the drill that is under way or was the last; nil before the first.
	lastDrill *DrillRun
}

// observe acts on what a source has just said.
func (l *loop) observe(ctx context.Context, o observation) {
	notices := l.tracker.Observe(o.source, o.sightings, o.at)
	for _, notice := range notices {
		l.act(ctx, label(o.source), notice)
	}
	if len(notices) == 0 && l.current != nil && l.current.notice.Source == sourceKey(o.source) {
		l.vanished(ctx, o.at)
	}
}

// act begins a drain for a notice, or lets it tighten the one under way. A
// notice that came after the current one was over is another interruption, and any
// notice ends a drill.
func (l *loop) act(ctx context.Context, source string, notice Notice) {
	if l.drilling() {
		l.takeOver(notice)
	}
	if l.current != nil && !l.lapsing && !l.current.over(notice.FirstSeen) {
		l.tighten(notice)
		return
	}
	l.Log.Info("Noticed interruption", "notice", notice.ID, "source", notice.Source, "kind", notice.Kind,
		"action", notice.Action, "deadline", notice.Deadline, "deadlineKind", notice.DeadlineKind,
		"remaining", time.Until(notice.Deadline).Seconds(), "raw", notice.Raw)
	l.Metrics.noticed(source, notice, time.Now())
	l.begin(ctx, notice)
}

// tighten moves the deadline of the current interruption forward. An estimate
// never does: it is made for want of better, and better is there.
func (l *loop) tighten(notice Notice) {
	if notice.DeadlineKind != Estimated {
		l.hasten(notice)
	}
}

// hasten moves the deadline of the current interruption forward to notice's, if
// that is the earlier one. One that has passed is that of an interruption which
// the machine has outlived.
func (l *loop) hasten(notice Notice) {
	now := time.Now()
	budget, _ := l.current.countdown.Budget()
	if notice.Deadline.Before(now) || notice.Deadline.After(budget.Deadline.Add(-resolution)) {
		return
	}
	if l.current.countdown.Tighten(notice.Deadline, now) {
		l.Log.Info("Tightened deadline", "notice", l.current.notice.ID, "by", notice.ID, "deadline", notice.Deadline)
	}
}

// begin starts the drain for notice. It outlives ctx: being told to stop is no
// reason to leave a drain half done.
func (l *loop) begin(ctx context.Context, notice Notice) {
	l.endUndo()
	budget := drain.NewBudget(notice.Deadline, time.Now())
	l.lapsing = false
	l.current = &interruption{notice: notice, countdown: drain.NewCountdown(budget), done: make(chan struct{})}
	current := l.current
	go func() {
		defer close(current.done)
		l.handle(context.WithoutCancel(ctx), current.notice, current.countdown)
	}()
}

// vanished undoes the current notice once its source no longer shows it and its
// deadline is long past: the machine lives on.
func (l *loop) vanished(ctx context.Context, now time.Time) {
	if l.lapsing || !l.current.over(now.Add(-lapseAfter)) {
		return
	}
	l.lapsing = true
	l.Log.Info("Notice lapsed", "notice", l.current.notice.ID)
	l.undo(ctx, l.current)
}

// finish waits for the drain that is under way, if any, and keeps the agent
// alive meanwhile.
func (l *loop) finish() {
	if l.current == nil {
		return
	}
	if l.drilling() {
		defer l.current.drill.stop()()
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
