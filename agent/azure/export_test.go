package azure

import "time"

// Age lets d pass for what polls remember: what is read comes over a network, which
// knows no virtual time.
func (s *ScheduledEvents) Age(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, moment := range []*time.Time{&s.answered, &s.asleep, &s.proven} {
		if !moment.IsZero() {
			*moment = moment.Add(-d)
		}
	}
}

// Answered is closed once the question that stayed open has its answer.
func (s *ScheduledEvents) Answered() <-chan struct{} { return s.waking.done }
