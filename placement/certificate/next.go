package certificate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"
)

// Mode says where the certificate comes from.
type Mode string

// The modes.
const (
	// Own has a CA of our own in the Secret, and publishes it. The default.
	Own Mode = "Own"
	// Given serves a kubernetes.io/tls Secret that somebody else keeps, and publishes
	// the ca.crt in it.
	Given Mode = "Given"
	// CertManager serves what cert-manager issues into the Secret, and leaves the
	// caBundle to its CA injector.
	CertManager Mode = "CertManager"
)

// rules are what does not change while a program runs.
type rules struct {
	mode    Mode
	names   []string // as the API server calls the webhook
	periods Periods
}

// view is what a replica knows at a moment.
type view struct {
	data    map[string][]byte // of the Secret
	live    []entry           // of the webhook configuration
	serving *tls.Certificate  // what it serves; nil before its first step
	seen    sights            // as its last step left them
	now     time.Time
}

// step is what follows from a view.
type step struct {
	// held is what the Secret holds.
	held contents
	// serve is what to serve from now on; nil when there is nothing yet.
	serve *tls.Certificate
	// change is what to do to the Secret.
	change Change
	// publish is what to do to the caBundles.
	publish publication
	// seen is for the next view.
	seen sights
	// again is when to look again though nothing was heard; zero means never.
	again time.Time
}

// next decides everything there is to decide about certificates.
func (r rules) next(v view) step {
	var held contents
	if r.mode == Own {
		held = readOwn(v.data, r.names, v.now)
	} else {
		held = readGiven(v.data, r.names, r.mode == Given, v.now)
	}
	seen := v.seen.observe(v.live, held.bundle, v.now)
	s := step{held: held, seen: seen, serve: r.choose(held.serving, v, seen)}
	if r.mode == Own {
		s.change = r.change(held, v.live, seen, v.now)
	}
	if r.mode != CertManager {
		s.publish = publish(v.live, held.bundle, seen.lingering(r.periods.linger(), v.now))
	}
	s.again = r.again(s, v.now)
	return s
}

// choose returns what to serve: the Secret's certificate, as soon as no API server can
// refuse it; until then what is served now, as long as that verifies.
func (r rules) choose(offered *tls.Certificate, v view, seen sights) *tls.Certificate {
	switch {
	case offered == nil:
		return v.serving
	case v.serving == nil, bytes.Equal(v.serving.Certificate[0], offered.Certificate[0]):
		return offered
	case verifyLive(v.serving, v.live, r.names, v.now) != nil:
		return offered
	case verify(offered, seen.settled(r.periods.Settle, v.now), r.names, v.now) == nil:
		return offered
	default:
		return v.serving
	}
}

// change returns the step that our Secret is due for. What is broken comes before
// what is old.
func (r rules) change(held contents, live []entry, seen sights, now time.Time) Change {
	if held.authority == nil {
		return r.restore(held, live, seen, now)
	}
	switch {
	case held.serving == nil:
		return Renewed
	case held.announced != nil && r.settled(held.announced, seen, now):
		return Switched
	case held.announced == nil && ageOf(held.authority, now) >= r.periods.RotateAuthority:
		return Announced
	case ageOf(held.serving, now) >= r.periods.RotateServing:
		return Renewed
	default:
		return ""
	}
}

// restore returns the step for a Secret without a CA that can sign. While a CA is
// published by which somebody may still be serving, the new one is announced first,
// as in any rotation; else nobody has anything to lose.
func (r rules) restore(held contents, live []entry, seen sights, now time.Time) Change {
	inUse := slices.ContainsFunc(live, func(e entry) bool {
		return slices.ContainsFunc(e.bundle, func(ca *x509.Certificate) bool {
			ours := held.announced != nil && ca.Equal(held.announced.Leaf)
			return !ours && validity(ca, now) == nil
		})
	})
	switch {
	case held.announced == nil && inUse:
		return Announced
	case held.announced == nil:
		return Started
	case !inUse || r.settled(held.announced, seen, now):
		return Switched
	default:
		return ""
	}
}

// settled says whether every API server knows the CA by now.
func (r rules) settled(ca *tls.Certificate, seen sights, now time.Time) bool {
	return contains(seen.settled(r.periods.Settle, now), ca.Leaf)
}

// again returns the first moment at which something is due with no news from outside.
func (r rules) again(s step, now time.Time) time.Time {
	var soonest time.Time
	due := func(at time.Time) {
		if at.After(now) && (soonest.IsZero() || at.Before(soonest)) {
			soonest = at
		}
	}
	for _, pair := range []*tls.Certificate{s.serve, s.held.serving, s.held.authority, s.held.announced} {
		if pair != nil {
			due(pair.Leaf.NotBefore)
			due(justAfter(pair.Leaf.NotAfter))
		}
	}
	if s.held.authority != nil {
		due(issuedAt(s.held.authority).Add(r.periods.RotateAuthority))
	}
	if s.held.serving != nil && r.mode == Own {
		due(issuedAt(s.held.serving).Add(r.periods.RotateServing))
	}
	for _, ca := range s.held.bundle {
		due(justAfter(ca.NotAfter.Add(Tolerance)))
	}
	for _, sight := range s.seen {
		if !sight.everywhere.IsZero() {
			due(sight.everywhere.Add(r.periods.Settle))
		}
		if !sight.unwanted.IsZero() {
			due(sight.unwanted.Add(r.periods.linger()))
		}
	}
	return soonest
}

// justAfter is the first moment at which a certificate is no longer valid, which it
// still is at its very end.
func justAfter(end time.Time) time.Time { return end.Add(time.Nanosecond) }
