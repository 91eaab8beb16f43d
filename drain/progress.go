package drain

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

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
	// pod is the pod itself, nil when it is not known.
	pod *corev1.Pod
	// guards are the disruption budgets that cover it.
	guards []*guard
	// lot orders pods of the same rank at random: many drains at once shall not all
	// begin with the same budget.
	lot time.Duration
	// announced is the deadline that the pod was told, zero when none was.
	announced time.Time
	// hand is how far its hand-over has come, handOver when there is to be one,
	// handAgain when it may be tried again; stopHanding ends the one under way.
	hand        handStage
	handOver    HandOverPolicy
	handAgain   time.Time
	stopHanding context.CancelFunc
	// never is set once no waiting can open the pod's budget.
	never bool
	// gentle is [Policy.Gentle], advised whether [Policy.Only] is set.
	gentle, advised bool
	// heldUpSince is when an advice was first refused something about the pod; zero
	// when it was not.
	heldUpSince time.Time
	// last is what the last call sent; lost is what an earlier one sent whose
	// reply never came, nil when there is none or it is known to have failed.
	last sent
	lost *sent
}

// sent is what a call asked for.
type sent struct {
	force bool
	grace time.Duration
	at    time.Time
	// guard is the budget that it was asked of, nil when there is none; contends is
	// whether there may be one.
	guard    *guard
	contends bool
}

func newProgress(move Move) *progress {
	p := &progress{Move: move, handOver: HandOverNever, out: PodOutcome{PodRef: move.PodRef, GraceWanted: move.GraceSeconds}}
	if move.Action == Await {
		p.leavesAlready()
	}
	return p
}

// cover finds the budgets that cover the pod. One that is not ready is not held
// back by any: what the API server makes of it depends on more than the budget
// shows, and a Pending pod needs no budget at all.
func (p *progress) cover(guards map[types.UID]*guard) {
	p.guards = p.guards[:0]
	for _, g := range guards {
		if p.pod != nil && ready(p.pod) && g.covers(p.pod) {
			p.guards = append(p.guards, g)
		}
	}
}

// opens says when the pod's budget may let it go; a moment that has come means
// now.
func (p *progress) opens(now time.Time) time.Time {
	if len(p.guards) != 1 {
		return now
	}
	return p.guards[0].next()
}

// admitted says whether the pod's budget takes another call now, and if not, when
// that may change without any news.
func (p *progress) admitted(now time.Time) (room bool, again time.Time) {
	if len(p.guards) != 1 {
		return true, now
	}
	return p.guards[0].room(now)
}

// far is a moment that never comes within a drain.
func far(now time.Time) time.Time { return now.Add(idle) }

// due says when the pod may be asked next; a moment that has come means now.
func (p *progress) due(othersGone, systemGone bool, now time.Time) time.Time {
	if p.phase != waiting {
		return far(now)
	}
	at := p.NotBefore
	if !p.advised && (p.Class == System && !othersGone || p.Class == Daemon && !systemGone) {
		at = latest(at, p.ForceAt.Add(-systemLead))
	}
	switch {
	case p.held() && p.advised:
		return far(now) // for this pod the advice ends as if it had not been
	case p.held():
		at = latest(at, p.ForceAt)
	}
	return latest(at, p.retryAt)
}

// before orders pods that are due: first those whose latest moment has come,
// then those never asked in the plan's order, drawn by lot where only names
// differ, then the least slack.
func (p *progress) before(other *progress, now time.Time) bool {
	if late := p.late(now); late != other.late(now) {
		return late
	}
	if first := p.out.Tries == 0; first != (other.out.Tries == 0) {
		return first
	}
	if !p.late(now) && p.out.Tries == 0 {
		return p.lot < other.lot && byRank(p.Move, other.Move) == 0
	}
	// Moves are looked at in the plan's order, so that a tie keeps it.
	return (p.late(now) || p.out.Tries > 0) && p.ForceAt.Before(other.ForceAt)
}

// late says whether the pod's latest moment has come. Nothing is late in a gentle
// drain: what it cannot do in time it leaves undone.
func (p *progress) late(now time.Time) bool {
	return !p.gentle && (p.hopeless() || !now.Before(p.ForceAt))
}

// hopeless says whether no waiting can make an eviction pass: the eviction API
// refuses a pod that two budgets cover, always.
func (p *progress) hopeless() bool { return p.never || len(p.guards) > 1 }

// mustForce says whether the next call is a deletion. Even a late pod is
// evicted first, once: where its budget is open that keeps the books right.
func (p *progress) mustForce(now time.Time) bool {
	return !p.gentle && p.hopeless() || p.late(now) && p.out.Tries > 0
}

// patience is how long an eviction may take: not past the pod's latest moment,
// as far as that leaves time for a reply at all. An API server that is busy with
// a contended budget goes on when the caller has given up, spends a disruption
// and deletes nothing; where the eviction contends, because the pod may have a
// budget, it gets the time that it takes to say so.
func (p *progress) patience(contends bool, now time.Time) time.Duration {
	if p.late(now) {
		return urgentTimeout
	}
	most := callTimeout
	if contends {
		most = contendedTimeout
	}
	return max(urgentTimeout, min(most, p.ForceAt.Sub(now)))
}

// strains says whether the reply shows that too many calls are under way: the API
// server says so or does not answer, or calls of several drains are in each other's
// way. A slow reply alone does not: the way to the API server may be long, a webhook
// may take its time, and where a drain is alone with a budget its conflicts are with
// the budget's controller. The budget has heard of the reply: after two that were
// accepted, a sign of others has faded.
func (s sent) strains(verdict Verdict, now time.Time) bool {
	switch verdict {
	case Overloaded, Unreachable, BudgetContended:
		return true
	case BudgetClosed, BudgetStale:
		return false
	case Accepted, Gone, OtherPod, BudgetNeverOpens, NamespaceEnding, Denied, Unauthorized:
	}
	if s.force || now.Sub(s.at) < slowReply {
		// A deletion asks no budget, however long it takes.
		return false
	}
	if s.guard == nil {
		// Asked before its budget was known, if it has one: the news is late.
		return s.contends
	}
	return s.guard.shared()
}

// begin notes a call.
func (p *progress) begin(call sent) {
	p.phase, p.last = calling, call
	p.out.Tries++
}

// hear takes in the reply to a call and returns what it means. The watch may
// have been faster; then the reply changes nothing.
func (p *progress) hear(reply result, now time.Time) Verdict {
	read := Classify(reply.err)
	if p.phase != calling {
		return read.Verdict
	}
	p.phase = waiting
	if reply.err != nil {
		p.out.Err = reply.err.Error()
	}
	switch read.Verdict {
	case Accepted:
		p.tell(now)
	case Gone, OtherPod:
		p.missed(now)
	case BudgetNeverOpens, NamespaceEnding:
		p.never, p.lost = true, nil
		if reply.force {
			// No API server says this of a deletion, but a webhook may say
			// anything; it is not asked in a loop.
			p.retryAt = now.Add(deniedDelay)
		}
	case BudgetClosed, BudgetStale, BudgetContended:
		// The API server looked at the pod, and it was not on its way out.
		p.lost = nil
		delay := read.After
		if reply.guard != nil {
			// The budget itself says when the next try may come.
			delay = 0
		}
		p.refused(reply.force, delay, now)
	case Denied:
		p.refused(reply.force, read.After, now)
	case Unreachable:
		lost := p.last
		p.lost = &lost
		p.refused(reply.force, read.After, now)
	case Unauthorized, Overloaded:
		p.pause(read.After, now)
	}
	return read.Verdict
}

// missed notes that the API server has no such pod any more: our doing, if the
// reply to an earlier call was lost.
func (p *progress) missed(now time.Time) {
	if p.lost == nil {
		p.finish(AlreadyGone, now)
		return
	}
	p.last = *p.lost
	p.tell(now)
	p.finish(p.out.Path, now)
}

// refused says when to ask again. An eviction refused at or past the pod's
// latest moment is followed by the deletion at once: what is waited for then is
// taken from its grace.
func (p *progress) refused(forced bool, delay time.Duration, now time.Time) {
	if !forced && p.late(now) {
		p.retryAt = now
		return
	}
	p.pause(delay, now)
}

// pause waits for delay, but does not sleep through the pod's latest moment.
func (p *progress) pause(delay time.Duration, now time.Time) {
	if p.late(now) {
		delay = min(delay, deniedDelay) // it comes off the pod's grace
	}
	delay = p.unhurried(delay, now)
	p.retryAt = now.Add(delay)
	if now.Before(p.ForceAt) && p.retryAt.After(p.ForceAt) {
		p.retryAt = p.ForceAt
	}
}

// tighten moves the pod's latest moment to a nearer deadline, and whatever was
// to happen by then with it.
func (p *progress) tighten(budget Budget) {
	p.ForceAt = budget.ForceAt(p.Grace(), p.Detach())
	for _, at := range []*time.Time{&p.NotBefore, &p.retryAt} {
		if at.After(p.ForceAt) {
			*at = p.ForceAt
		}
	}
}

// tell notes that the last call was accepted.
func (p *progress) tell(now time.Time) {
	p.phase, p.out.ToldAt, p.out.Err = told, now, ""
	p.out.GraceGiven = int64(p.last.grace / time.Second)
	switch {
	case p.last.force:
		p.out.Path = Forced
	case p.hand == succeeded:
		p.out.Path = HandedOver
	case p.last.grace < p.Grace():
		p.out.Path = Clamped
	default:
		p.out.Path = Evicted
	}
}

// see takes in what the watch shows of the pod.
func (p *progress) see(change Change, now time.Time) {
	ours := p.phase == calling || p.lost != nil
	leaving := change.Gone || change.Pod.DeletionTimestamp != nil
	switch {
	case p.phase == done:
		return
	case p.phase != told && leaving && ours:
		// The watch was faster than the reply, or the reply was lost.
		if p.phase == waiting {
			p.last = *p.lost
		}
		p.tell(now)
	case p.phase != told && leaving:
		p.leavesAlready()
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

// leavesAlready notes that others have told the pod to stop.
func (p *progress) leavesAlready() {
	p.phase, p.out.Path, p.out.ToldByOthers = told, AlreadyGone, true
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
	case p.gentle && p.phase != told:
		p.spare()
	case p.advised:
		p.phase = done // it ends when it ends: the machine waits for it
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

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
