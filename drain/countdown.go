package drain

import (
	"sync"
	"time"
)

// Countdown is the budget of a drain under way, which a second notice may
// tighten at any moment. It is safe for use by several goroutines.
type Countdown struct {
	mu      sync.Mutex
	budget  Budget
	changed chan struct{}
}

// NewCountdown starts with budget.
func NewCountdown(budget Budget) *Countdown {
	return &Countdown{budget: budget, changed: make(chan struct{})}
}

// Budget returns the budget as it stands, and a channel that is closed when it
// is tightened.
func (c *Countdown) Budget() (Budget, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.budget, c.changed
}

// Tighten moves the deadline forward; a later one changes nothing. It says
// whether anything changed.
func (c *Countdown) Tighten(deadline, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	tightened := c.budget.Tighten(deadline, now)
	if tightened == c.budget {
		return false
	}
	c.budget = tightened
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}
