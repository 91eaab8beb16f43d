package drain

import "time"

// phase is how far one move has come.
type phase int

const (
	// waiting: not told yet, or refused and to be asked again.
	waiting phase = iota
	// calling: a call is under way.
	calling
	// told: on its way out.
	told
	// done: it has its outcome.
	done
)

// progress is one move under way. It takes no clock and makes no call: it is
// told what happens and says what is due.
type progress struct {
	Move
	out     PodOutcome
	phase   phase
	retryAt time.Time
	// never is set once no waiting can open the pod's budget.
	never bool
	// unknown is set while the reply to a call is unknown.
	unknown bool
	// force and grace are what the last call sent.
	force bool
	grace time.Duration
	began time.Time
}

func newProgress(move Move) *progress {
	p := &progress{Move: move, out: PodOutcome{PodRef: move.PodRef, GraceWanted: move.GraceSeconds}}
	if move.Action == Await {
		p.phase, p.out.Path = told, AlreadyGone
	}
	return p
}

// far is a moment that never comes within a drain.
func far(now time.Time) time.Time { return now.Add(idle) }

// due says when the pod may be asked next; a moment that has come means now.
func (p *progress) due(othersGone, systemGone bool, now time.Time) time.Time {
	if p.phase != waiting {
		return far(now)
	}
	at := p.NotBefore
	if p.Class == System && !othersGone || p.Class == Daemon && !systemGone {
		at = latest(at, p.ForceAt.Add(-systemLead))
	}
	return latest(at, p.retryAt)
}

// before orders pods that are due: first those whose latest moment has come,
// then those never asked in the plan's order, then the least slack.
func (p *progress) before(other *progress, now time.Time) bool {
	if late := p.late(now); late != other.late(now) {
		return late
	}
	if first := p.out.Tries == 0; first != (other.out.Tries == 0) {
		return first
	}
	// Moves are looked at in the plan's order, so that a tie keeps it.
	return (p.late(now) || p.out.Tries > 0) && p.ForceAt.Before(other.ForceAt)
}

// late says whether the pod's latest moment has come.
func (p *progress) late(now time.Time) bool { return p.never || !now.Before(p.ForceAt) }

// mustForce says whether the next call is a deletion. Even a late pod is
// evicted first, once: where its budget is open that keeps the books right.
func (p *progress) mustForce(now time.Time) bool {
	return p.never || p.late(now) && p.out.Tries > 0
}

// begin notes a call.
func (p *progress) begin(now time.Time, force bool, grace time.Duration) {
	p.phase, p.began, p.force, p.grace = calling, now, force, grace
	p.out.Tries++
}

// hear takes in the reply to a call and returns what it means. The watch may
// have been faster; then the reply changes nothing.
func (p *progress) hear(reply result, now time.Time) Verdict {
	read := Classify(reply.err)
	if reply.err != nil {
		p.out.Err = reply.err.Error()
	}
	if p.phase != calling {
		return read.Verdict
	}
	p.phase, p.unknown = waiting, read.Verdict == Unreachable
	switch read.Verdict {
	case Accepted:
		p.tell(now)
	case Gone, OtherPod:
		p.finish(AlreadyGone, now)
	case BudgetNeverOpens, NamespaceEnding:
		p.never = true
	case BudgetClosed, BudgetStale, BudgetContended, Denied, Unauthorized, Overloaded, Unreachable:
		p.retryAt = now.Add(read.After)
		// Whatever the delay, the pod's latest moment is not slept through.
		if now.Before(p.ForceAt) && p.retryAt.After(p.ForceAt) {
			p.retryAt = p.ForceAt
		}
	}
	return read.Verdict
}

// tell notes that the last call was accepted.
func (p *progress) tell(now time.Time) {
	p.phase, p.out.ToldAt, p.out.Err = told, now, ""
	p.out.GraceGiven = int64(p.grace / time.Second)
	switch {
	case p.force:
		p.out.Path = Forced
	case p.grace < p.Grace():
		p.out.Path = Clamped
	default:
		p.out.Path = Evicted
	}
}

// see takes in what the watch shows of the pod.
func (p *progress) see(change Change, now time.Time) {
	ours := p.phase == calling || p.unknown
	leaving := change.Gone || change.Pod.DeletionTimestamp != nil
	switch {
	case p.phase == done:
		return
	case p.phase != told && leaving && ours:
		// The watch was faster than the reply, or the reply was lost.
		p.tell(now)
	case p.phase != told && leaving:
		p.phase, p.out.Path = told, AlreadyGone
	}
	switch ended := finished(change.Pod); {
	case change.Gone && p.phase == told:
		p.finish(p.out.Path, now)
	case ended && p.phase == told:
		// Its containers have ended; a finalizer may keep the object longer.
		p.finish(p.out.Path, now)
	case ended:
		p.finish(Finished, now)
	}
}

func (p *progress) finish(path Path, now time.Time) {
	p.phase, p.out.Path, p.out.GoneAt = done, path, now
	p.out.Err = ""
}

// end settles a pod that has no outcome when the drain ends.
func (p *progress) end(calledOff bool) {
	switch {
	case p.phase == done:
	case calledOff:
		p.phase, p.out.Path = done, CalledOff
	default:
		p.phase, p.out.Path = done, Lost
	}
}

// outcome is what is reported of the pod.
func (p *progress) outcome(budget Budget) PodOutcome {
	out := p.out
	if !out.GoneAt.IsZero() {
		out.SlackSeconds = budget.Deadline.Sub(out.GoneAt).Seconds()
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
