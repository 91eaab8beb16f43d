package drain

import "time"

const (
	// firstCalls is how many calls a drain begins with, over all budgets, where it
	// sees no other, and crowdedCalls where it does.
	firstCalls   = 8
	crowdedCalls = 3
	// uncordonedCalls is how many are under way while the node is not cordoned yet,
	// for uncordonedFor at the most: whatever fills the API server then keeps the
	// cordon waiting, and every pod that is bound meanwhile has to leave again. A
	// cordon that fails must not hold up the drain.
	uncordonedCalls = 1
	uncordonedFor   = 5 * time.Second
)

// pace is how many calls a drain has under way over all budgets. It starts small and
// doubles with every round that went well, until the first sign of too much; from
// then on it grows by one a round, as TCP does. Fifty drains that begin at once with
// all they have fill the seats that the API server's priority and fairness has for
// them, with evictions that sleep after their conflicts, and then not even a cordon
// comes through. It takes no clock.
type pace struct {
	// limit is how many calls may be under way, most the bound of it, passed how
	// many passed since limit was last changed.
	limit, most, passed int
	// eager is true until the first sign of too much; shrunk is when that last was.
	eager  bool
	shrunk time.Time
}

func newPace(most int) pace {
	most = max(1, most)
	return pace{limit: min(firstCalls, most), most: most, eager: true}
}

// went notes a reply that shows no sign of too much.
func (p *pace) went() {
	if p.passed++; p.eager || p.passed >= p.limit {
		p.limit, p.passed = min(p.limit+1, p.most), 0
	}
}

// crowded notes that other drains are at work.
func (p *pace) crowded() { p.limit, p.passed, p.eager = min(p.limit, crowdedCalls), 0, false }

// strained notes that there was too much when the call began that was begun at
// began. The calls of one round say so once.
func (p *pace) strained(began, now time.Time) {
	if began.Before(p.shrunk) {
		return
	}
	p.limit, p.passed, p.eager, p.shrunk = max(1, p.limit/2), 0, false, now
}
