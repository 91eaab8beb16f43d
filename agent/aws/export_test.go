package aws

import "time"

// TrustedFor is for how long tests have to let time pass.
const TrustedFor = trustedFor

// Age lets d pass, as far as the trust in the service goes: what is read comes over
// a network, which knows no virtual time.
func (s *Spot) Age(d time.Duration) { s.trusted = s.trusted.Add(-d) }
