package stamp

import "time"

// Age lets d pass, as far as the trust in the service goes.
func (s *Spot) Age(d time.Duration) { s.trust.Age(d) }
