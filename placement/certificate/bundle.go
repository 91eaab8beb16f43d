package certificate

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
)

// entry is a webhook of the live configuration.
type entry struct {
	name   string
	bundle []*x509.Certificate
	// garbage is set when the caBundle holds something that cannot be read.
	garbage bool
}

func readEntry(name string, caBundle []byte) entry {
	e := entry{name: name}
	if len(bytes.TrimSpace(caBundle)) == 0 {
		return e
	}
	var err error
	e.bundle, err = cert.ParseCertsPEM(caBundle)
	e.garbage = err != nil
	return e
}

// verify asks what the API server will: whether the chain that serving presents leads
// to a root, for each of the names.
func verify(serving *tls.Certificate, roots []*x509.Certificate, names []string, now time.Time) error {
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CurrentTime: now,
	}
	for _, root := range roots {
		options.Roots.AddCert(root)
	}
	for _, der := range serving.Certificate[1:] {
		if intermediate, err := x509.ParseCertificate(der); err == nil {
			options.Intermediates.AddCert(intermediate)
		}
	}
	for _, name := range names {
		options.DNSName = name
		if _, err := serving.Leaf.Verify(options); err != nil {
			return err
		}
	}
	return nil
}

// verifyLive asks whether every entry of the configuration would take the chain.
func verifyLive(serving *tls.Certificate, live []entry, names []string, now time.Time) error {
	if len(live) == 0 {
		return errors.New("verifying the served certificate: the webhook configuration has no entries")
	}
	for _, e := range live {
		if err := verify(serving, e.bundle, names, now); err != nil {
			return fmt.Errorf("verifying the served certificate by the caBundle of %q: %w", e.name, err)
		}
	}
	return nil
}

// digest tells certificates apart.
type digest [sha256.Size]byte

func digestOf(c *x509.Certificate) digest { return sha256.Sum256(c.Raw) }

func contains(bundle []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(bundle, c.Equal)
}

// sights is what one replica remembers of the CAs that it sees published.
type sights map[digest]sight

type sight struct {
	ca *x509.Certificate
	// everywhere is since when every entry has held the CA without a gap; zero when
	// one does not.
	everywhere time.Time
	// unwanted is since when the Secret has not asked for it; zero when it does.
	unwanted time.Time
}

// observe returns the sights after a look at the live configuration. The receiver is
// left as it is.
func (s sights) observe(live []entry, wanted []*x509.Certificate, now time.Time) sights {
	since := func(holds bool, before time.Time) time.Time {
		switch {
		case !holds:
			return time.Time{}
		case before.IsZero():
			return now
		default:
			return before
		}
	}
	seen := sights{}
	for _, e := range live {
		for _, ca := range e.bundle {
			before := s[digestOf(ca)]
			missing := slices.ContainsFunc(live, func(e entry) bool { return !contains(e.bundle, ca) })
			seen[digestOf(ca)] = sight{
				ca:         ca,
				everywhere: since(!missing, before.everywhere),
				unwanted:   since(!contains(wanted, ca), before.unwanted),
			}
		}
	}
	return seen
}

// settled are the CAs that every API server knows by now.
func (s sights) settled(settle time.Duration, now time.Time) []*x509.Certificate {
	var all []*x509.Certificate
	for _, sight := range s {
		if !sight.everywhere.IsZero() && now.Sub(sight.everywhere) >= settle {
			all = append(all, sight.ca)
		}
	}
	return all
}

// lingering are the CAs that nothing asks for and that are not to be taken away yet.
func (s sights) lingering(linger time.Duration, now time.Time) []*x509.Certificate {
	var all []*x509.Certificate
	for _, sight := range s {
		if !sight.unwanted.IsZero() && now.Sub(sight.unwanted) < linger {
			all = append(all, sight.ca)
		}
	}
	// A map has no order, and two replicas should write the same.
	slices.SortFunc(all, func(a, b *x509.Certificate) int { return bytes.Compare(a.Raw, b.Raw) })
	return all
}

// publication is what the caBundle of every entry has to become.
type publication struct {
	bundle []*x509.Certificate // empty: nothing is to be written
	// removes is set when an entry loses a CA by it.
	removes bool
}

// publish compares the live configuration with the CAs that are wanted and those that
// may stay.
func publish(live []entry, wanted, lingering []*x509.Certificate) publication {
	if len(wanted) == 0 {
		return publication{}
	}
	bundle, changes, removes := slices.Clone(wanted), false, false
	for _, ca := range lingering {
		if !contains(bundle, ca) {
			bundle = append(bundle, ca)
		}
	}
	for _, e := range live {
		lost := func(ca *x509.Certificate) bool { return !contains(bundle, ca) }
		lacks := func(ca *x509.Certificate) bool { return !contains(e.bundle, ca) }
		removes = removes || slices.ContainsFunc(e.bundle, lost)
		changes = changes || removes || e.garbage || slices.ContainsFunc(wanted, lacks)
	}
	if !changes {
		return publication{}
	}
	return publication{bundle: bundle, removes: removes}
}
