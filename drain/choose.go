package drain

import (
	"context"
	"time"
)

// start begins every call that is due and returns when to look again: at the
// latest when the countdown gives up.
func (r *run) start(ctx context.Context, budget Budget, now time.Time) time.Time {
	end := earliest(budget.GiveUpAt(), r.nextHandOver(now))
	if settled := r.cordonedAt.Add(settle); !r.cordonedAt.IsZero() && settled.After(now) {
		end = earliest(end, settled)
	}
	if r.cordonedAt.IsZero() && r.hurryAt.After(now) {
		end = earliest(end, r.hurryAt)
	}
	for {
		chosen, next := r.choose(now)
		if chosen == nil {
			return earliest(end, next)
		}
		r.call(ctx, chosen, budget, now)
	}
}

// choose returns the pod to be asked first of those that are due, nil when none
// is, and when that may change.
func (r *run) choose(now time.Time) (chosen *progress, next time.Time) {
	othersGone := r.gone(func(p *progress) bool { return p.Class == Stateful || p.Class == Workload })
	systemGone := r.gone(func(p *progress) bool { return p.Class != Daemon })
	next = far(now)
	for _, p := range r.moves {
		if p.gentle && p.phase == waiting {
			next = earliest(next, p.limit()) // it is spared then, due or not
		}
		due := p.due(othersGone, systemGone, now)
		if due.After(now) {
			next = earliest(next, due)
			continue
		}
		if !p.late(now) {
			// One that is held up now is looked at again when it is late: it is
			// held up by nothing then, whether or not a call has ended.
			next = earliest(next, p.limit())
			if opens := latest(r.blindUntil, p.opens(now)); opens.After(now) {
				next = earliest(next, opens)
				continue
			}
			if room, again := p.admitted(now); !room {
				next = earliest(next, again)
				continue
			}
		}
		if !r.room(p, now) {
			continue // until a call has ended
		}
		if chosen == nil || p.before(chosen, now) {
			chosen = p
		}
	}
	return chosen, next
}

// room says whether another call may begin now. Pods with a budget and pods without
// one do not stand in each other's way: only the former sleep after conflicts.
func (r *run) room(p *progress, now time.Time) bool {
	if p.late(now) {
		return r.inFlight < 2*r.pace.most
	}
	limit, busy := r.pace.limit, r.guarded
	if r.cordonedAt.IsZero() && now.Before(r.hurryAt) {
		limit = min(limit, uncordonedCalls)
	}
	if !r.mayContend(p) {
		busy = r.inFlight - r.guarded
	}
	return busy < limit && r.inFlight < r.pace.most
}

// mayContend says whether the pod may have a budget.
func (r *run) mayContend(p *progress) bool { return !r.budgetsKnown || len(p.guards) > 0 }
