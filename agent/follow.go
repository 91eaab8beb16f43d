package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

// observe acts on what a source has just said.
func (l *loop) observe(ctx context.Context, o observation) {
	key := sourceKey(o.source)
	l.open[key], l.over[key] = l.tracker.Observe(o.source, o.sightings, o.at)
	if l.survived.Source == key && !l.shows(l.survived) {
		l.survived = Notice{} // seen again, it is another one
	}
	l.follow(ctx, o.at)
}

// follow does what the open notices ask for at now, and takes back what none of them
// asks for any more.
func (l *loop) follow(ctx context.Context, now time.Time) {
	if l.outlived(now) {
		l.lapse(ctx)
	}
	standing := l.standing()
	l.tell(ctx, standing, now)
	calls := l.Rules.calls(standing, now)
	advised := slices.IndexFunc(calls, func(c calling) bool { return !c.drains() })
	for _, c := range calls {
		if !c.drains() {
			break
		}
		l.act(ctx, c, now)
	}
	switch {
	case len(calls) == 0 || advised == 0 && l.current != nil && !l.advising():
		l.release(ctx, now)
	case advised == 0:
		l.advise(ctx, calls[0], now)
	}
}

// standing returns every notice that is open, those of a source that is blind included.
func (l *loop) standing() []Notice {
	var all []Notice
	for _, source := range slices.Sorted(maps.Keys(l.open)) {
		all = append(all, l.open[source]...)
	}
	return slices.DeleteFunc(all, func(open Notice) bool {
		return open.Source == l.survived.Source && open.ID == l.survived.ID
	})
}

// shows says whether the source of notice showed it when it last spoke.
func (l *loop) shows(notice Notice) bool {
	return slices.ContainsFunc(l.open[notice.Source], func(open Notice) bool { return open.ID == notice.ID })
}

// tell reports the notices that are acted on later or not at all, each once.
func (l *loop) tell(ctx context.Context, standing []Notice, now time.Time) {
	for _, notice := range standing {
		course := l.Rules.Course(notice)
		if course.Response != ReportOnly && !course.From.After(now) {
			continue
		}
		last, known := l.told[notice.ID]
		l.told[notice.ID] = now
		if known && now.Sub(last) < l.patience(notice.Source) {
			continue
		}
		notice.Advice = l.Rules.response(notice)
		l.Log.Info("Noted notice", append(about(notice), "response", notice.Advice, "begins", course.From)...)
		if course.Response == ReportOnly {
			l.Metrics.noticed(notice, now)
		}
		go l.announce(context.WithoutCancel(ctx), notice)
	}
	maps.DeleteFunc(l.told, func(_ string, last time.Time) bool { return now.Sub(last) > daysAhead })
}

// about is what a log line says of a notice.
func about(notice Notice) []any {
	said := []any{
		"notice", notice.ID, "source", notice.Source, "kind", notice.Kind, "action", notice.Action, "state", notice.State,
		"deadlineKind", notice.DeadlineKind, "raw", notice.Raw,
	}
	if !notice.Deadline.IsZero() {
		said = append(said, "deadline", notice.Deadline)
	}
	return said
}

// act begins a drain for a notice, or lets it tighten the one under way. A notice that
// asks for one only after the current one was over is another interruption, and any
// ends a drill or an advice.
func (l *loop) act(ctx context.Context, c calling, now time.Time) {
	notice := c.resolved()
	switch {
	case l.drilling():
		l.breakDrillOff(notice)
	case l.advising():
		l.breakAdviceOff(notice)
	}
	if l.current != nil && !l.lapsing && l.current.includes(notice, c.course.From) {
		l.current.called = now
		l.current.firm = l.current.firm || !notice.revocable()
		l.tighten(notice)
		return
	}
	l.Log.Info("Noticed interruption", append(about(notice), "remaining", time.Until(notice.Deadline).Seconds())...)
	l.Metrics.noticed(notice, now)
	l.begin(ctx, notice, now)
}

// tighten moves the deadline of the current interruption forward. An estimate of the
// same kind never does, since it is made for want of better and better is there; but for
// that of the notice itself when what it announced begins, which may be before its time.
func (l *loop) tighten(notice Notice) {
	current := &l.current.notice
	begun := notice.ID == current.ID && notice.State == Started && current.State != Started
	if begun {
		current.State = Started
	}
	if begun || notice.DeadlineKind != Estimated || notice.Kind != current.Kind {
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

// begin starts what is done about notice. It outlives ctx: being told to stop is no
// reason to leave a drain half done.
func (l *loop) begin(ctx context.Context, notice Notice, now time.Time) {
	l.endUndo()
	whole, callOff := context.WithCancelCause(context.WithoutCancel(ctx))
	l.current = &interruption{
		notice: notice, countdown: drain.NewCountdown(drain.NewBudget(notice.Deadline, time.Now())),
		done: make(chan struct{}), callOff: callOff, called: now,
	}
	of, agent := l.current, l.Agent
	if notice.Advice != "" {
		agent = agent.adviser()
	}
	go func() {
		defer close(of.done)
		defer callOff(nil)
		agent.carryOut(whole, notice, of.countdown)
	}()
}

// carryOut does what is to be done about notice, to its end.
func (a *Agent) carryOut(ctx context.Context, notice Notice, countdown *drain.Countdown) {
	if notice.Advice == CordonSoftly {
		a.cordonSoftly(ctx, notice, countdown)
		return
	}
	if report := a.handle(ctx, notice, countdown); report.Complete() && notice.Advice == "" {
		a.acknowledge(ctx, notice)
	}
}

// acknowledge tells the notice's source that the node is drained, where that is wanted.
func (a *Agent) acknowledge(ctx context.Context, notice Notice) {
	if !a.Acknowledge {
		return
	}
	for _, source := range a.Sources {
		acknowledger, wants := source.(Acknowledger)
		if !wants || sourceKey(source) != notice.Source {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, source.Pace().Timeout)
		defer cancel()
		if err := acknowledger.Acknowledge(ask, notice.ID); err != nil {
			a.Log.Warn("Acknowledged nothing", "notice", notice.ID, "err", err)
			return
		}
		a.Log.Info("Acknowledged notice", "notice", notice.ID)
	}
}

// outlived says whether the machine has outlived the deadline of the current drain by a
// while, and its source shows the notice no more. Before, a key that is gone means nothing.
func (l *loop) outlived(now time.Time) bool {
	if l.current == nil || l.lapsing || l.drilling() || l.advising() {
		return false
	}
	notice := l.current.notice
	return !l.shows(notice) && !l.heard(notice.Source, now).IsZero() && l.current.over(now.Add(-lapseAfter))
}

// release undoes the current interruption when nothing asks for it any more. A spot
// notice cannot be withdrawn. Every other is when its cloud says so, or a while after
// something last asked for as much still says nothing: one reply without a notice is never
// enough, nor is silence. An advice is, besides, when it has been followed for long enough.
func (l *loop) release(ctx context.Context, now time.Time) {
	if l.current == nil || l.lapsing || l.drilling() || !l.current.revocable() {
		return
	}
	notice := l.current.notice
	spent := l.advising() && !notice.Deadline.After(now)
	silent := l.heard(notice.Source, now).Sub(l.current.called) >= lapseAfter
	if spent || silent || l.calledOff(notice) {
		l.lapse(ctx)
	}
}

// calledOff says whether the cloud shows the notice and says that it is over.
func (l *loop) calledOff(notice Notice) bool {
	return notice.revocable() && slices.Contains(l.over[notice.Source], notice.ID)
}

// patience is how long a notice may be gone from source and is no news when it is back: one
// reply without it must not make it another, however seldom the source is asked.
func (l *loop) patience(source string) time.Duration {
	for _, s := range l.Sources {
		if pace := s.Pace(); sourceKey(s) == source {
			return max(lapseAfter, 2*pace.Every+pace.Timeout)
		}
	}
	return lapseAfter
}

// lapse takes back what was done about the current notice.
func (l *loop) lapse(ctx context.Context) {
	l.Log.Info("Notice lapsed", "notice", l.current.notice.ID)
	l.current.callOff(errLapsed)
	l.undo(ctx, l.current)
}

// heard is when a source last spoke, zero where it has not since the agent began. One that
// the agent does not have any more says nothing at every moment.
func (l *loop) heard(source string, now time.Time) time.Time {
	if !slices.ContainsFunc(l.Sources, func(s Source) bool { return sourceKey(s) == source }) {
		return now
	}
	return l.tracker.said[source].at
}
