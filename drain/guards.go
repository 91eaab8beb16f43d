package drain

import (
	"math/rand/v2"
	"time"
)

// catchUp takes in all that is known of disruption budgets, so that no call is
// chosen on older news: where many agents share a budget it changes between any
// two calls.
func (r *run) catchUp(budgets <-chan BudgetChange) {
	for {
		select {
		case change := <-budgets:
			r.learn(change, time.Now())
		default:
			return
		}
	}
}

// learn takes in what the watch shows of a disruption budget.
func (r *run) learn(change BudgetChange, now time.Time) {
	if change.PDB == nil {
		r.budgetsKnown, r.blindUntil = true, now
		return
	}
	known := r.guards[change.PDB.UID]
	defer r.lookAround()
	switch {
	case change.Gone:
		delete(r.guards, change.PDB.UID)
	case known == nil:
		r.guards[change.PDB.UID] = newGuard(change.PDB, now, r.spread)
	case !known.learn(change.PDB, now, r.spread):
		return
	}
	for _, p := range r.moves {
		if p.Namespace == change.PDB.Namespace {
			p.cover(r.guards)
		}
	}
}

// lookAround slows down at the first sign of others at work on the budgets of this
// drain; what a drain does itself is none.
func (r *run) lookAround() {
	if r.crowded {
		return
	}
	for _, p := range r.moves {
		if len(p.guards) == 1 && p.guards[0].foreign {
			r.crowded = true
			r.pace.crowded()
			return
		}
	}
}

func (r *run) spread(over time.Duration) time.Duration {
	if r.Spread != nil {
		return r.Spread(over)
	}
	return rand.N(over) //nolint:gosec // nobody gains from guessing it
}
