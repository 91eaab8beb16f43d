package drain

import "time"

const (
	// leastGrace is the shortest grace worth sending: below it a kubelet has
	// no time to deliver SIGTERM and wait for anything. The kubelet grants the
	// same two seconds after a preStop hook that used up the grace.
	leastGrace = 2 * time.Second
	// DefaultGrace is what a pod without terminationGracePeriodSeconds gets
	// (the API server's own default).
	DefaultGrace = 30 * time.Second
)

// Budget is the time that a machine has left to live and what is kept of it.
type Budget struct {
	// Deadline is D, the moment at which the machine may die.
	Deadline time.Time
	// Reserve is m, kept at the end for replies, watch events and the
	// kubelet's last status.
	Reserve time.Duration
}

// NewBudget returns the budget of a machine that may die at deadline, seen from
// now, the moment of first sight: a long notice affords a larger reserve.
func NewBudget(deadline, now time.Time) Budget {
	reserve := time.Second
	switch left := deadline.Sub(now); {
	case left >= time.Minute:
		reserve = 5 * time.Second
	case left >= 20*time.Second:
		reserve = 3 * time.Second
	}
	return Budget{Deadline: deadline, Reserve: reserve}
}

// Tighten returns the budget for deadline if that is earlier, else b: a second
// notice may take time away and never gives any back.
func (b Budget) Tighten(deadline, now time.Time) Budget {
	if !deadline.Before(b.Deadline) {
		return b
	}
	return NewBudget(deadline, now)
}

// Left is R, the time that pods can still be given; negative when it is over.
func (b Budget) Left(now time.Time) time.Duration {
	return b.Deadline.Sub(now) - b.Reserve
}

// Grace returns the grace to send now to a pod whose own grace is own and that
// needs detach after its end to give its volumes back: all of its own where the
// machine has it, else what is left, in whole seconds as the API counts them:
// the nearest one, so that a call a moment late does not cost the pod a second;
// the reserve has room for half of one. The volumes get half of it at most: of ten
// seconds none would be left for the pod, and no volume comes off in them anyway. It is
// never zero (the API server would drop the pod while it still runs) and never longer
// than own. The first grace sent is final: the kubelet ignores a later one
// (kubernetes#113606).
func (b Budget) Grace(own, detach time.Duration, now time.Time) time.Duration {
	left := b.Left(now)
	left = (left - min(detach, left/2)).Round(time.Second)
	return max(min(own, left), min(leastGrace, own))
}

// ForceAt is the last moment at which a pod can be told to stop and still have
// all of its own grace. Until then its disruption budget is honoured; from then
// on it is deleted. It lies in the past when the machine has less than that.
func (b Budget) ForceAt(own, detach time.Duration) time.Time {
	return b.Deadline.Add(-b.Reserve - detach - own)
}

// GiveUpAt is when the drain stops waiting and reports: late enough for a pod
// that was killed at the end of its grace to be seen gone, early enough for the
// report to leave the machine.
func (b Budget) GiveUpAt() time.Time {
	return b.Deadline.Add(-b.Reserve / 4)
}
