package metadata

import "time"

// TrustedFor is how long answers of "not there" are believed after the service
// proved itself. At a poll a second that makes one more request in ten, and it
// bounds how long a service that denies everything passes for calm, however
// slowly it is polled.
const TrustedFor = 10 * time.Second

// Trust is what it takes to believe that a 404 means "no notice": that the
// service has lately answered another item, which every machine has. A proxy
// that guards the metadata of pods, or a stranger at the address, answers 404 to
// both. The zero Trust believes nothing. It is not safe for concurrent use.
type Trust struct {
	until time.Time
}

// Holds says whether a 404 that came for a request of that moment is believed.
func (t *Trust) Holds(asked time.Time) bool { return asked.Before(t.until) }

// Gain notes that the service proved itself when it was asked at that moment.
func (t *Trust) Gain(asked time.Time) { t.until = asked.Add(TrustedFor) }

// Lose ends the trust: after a fault, whoever answers next may be another.
func (t *Trust) Lose() { t.until = time.Time{} }

// Age lets d pass as far as the trust goes, for tests: what is read comes over a
// network, which knows no virtual time.
func (t *Trust) Age(d time.Duration) { t.until = t.until.Add(-d) }
