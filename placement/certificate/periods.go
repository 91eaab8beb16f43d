package certificate

import (
	"errors"
	"time"
)

// Tolerance is how far apart the clocks of replicas and API servers may be. What is
// issued is valid from this long ago, and a CA stays published for this long after it
// expired. It is the hour that client-go and kubeadm allow too.
const Tolerance = time.Hour

// Periods are the times of a rotation.
type Periods struct {
	// Authority is how long a CA is valid, and RotateAuthority the age at which the
	// next one is announced.
	Authority, RotateAuthority time.Duration
	// Serving is how long a serving certificate is valid, and RotateServing the age at
	// which it is signed anew.
	Serving, RotateServing time.Duration
	// Settle is how long an API server may take to see a change of its own
	// configuration. Watches bring it within milliseconds; the rest is for an API
	// server that has to start its watch anew.
	Settle time.Duration
}

// DefaultPeriods are for use in a cluster: half a serving certificate's life, or a
// third of a CA's, may pass with no replica running before anything expires.
func DefaultPeriods() Periods {
	const day = 24 * time.Hour
	return Periods{
		Authority: 90 * day, RotateAuthority: 60 * day,
		Serving: 14 * day, RotateServing: 7 * day,
		Settle: 30 * time.Second,
	}
}

// Validate says why the periods would let something expire while it is in use; nil
// means that they do not.
func (p Periods) Validate() error {
	var problems []error
	require := func(holds bool, problem string) {
		if !holds {
			problems = append(problems, errors.New(problem))
		}
	}
	require(p.Settle > 0, "the time to settle has to be positive")
	require(p.RotateServing > 0 && p.RotateServing < p.Serving, "a serving certificate has to be signed anew within its life")
	require(p.RotateAuthority > 0, "the age at which a CA is replaced has to be positive")
	// Without this room a serving certificate would be cut short by its CA's end.
	require(p.RotateAuthority+p.Settle+p.Serving <= p.Authority,
		"a CA has to outlive its replacement's announcement by the time to settle and a serving certificate's life")
	return errors.Join(problems...)
}

// linger is how long a CA that nothing asks for stays in the caBundle: long enough
// for every replica to see what it should serve instead, with watches that are as
// late as those of the API servers may be, and for that to settle.
func (p Periods) linger() time.Duration { return 10 * p.Settle }
