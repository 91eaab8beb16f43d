package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// The keys of the Secret's data. Those of [Given] are what kubernetes.io/tls and
// cert-manager use; ours are the same and some more.
const (
	servingCertKey = corev1.TLSCertKey
	servingKeyKey  = corev1.TLSPrivateKeyKey
	// authorityCertKey begins with the CA that signs; the retired ones follow.
	authorityCertKey = corev1.ServiceAccountRootCAKey
	authorityKeyKey  = "ca.key"
	announcedCertKey = "next-ca.crt"
	announcedKeyKey  = "next-ca.key"
)

// contents is what a Secret holds, as far as it can be used. A nil certificate is one
// that cannot, and its error says why.
type contents struct {
	serving   *tls.Certificate
	authority *tls.Certificate // always nil when the Secret is not ours
	announced *tls.Certificate // likewise
	// bundle is every CA that the Secret wants published. It is empty when the Secret
	// has nothing to serve that could be verified by it.
	bundle []*x509.Certificate

	servingErr, authorityErr error
}

// readOwn reads a Secret that we write.
func readOwn(data map[string][]byte, names []string, now time.Time) contents {
	var c contents
	c.authority, c.authorityErr = readAuthority(data, authorityCertKey, authorityKeyKey, now)
	c.announced, _ = readAuthority(data, announcedCertKey, announcedKeyKey, now)
	// What cannot be read is left out: the usable CAs are published all the same.
	c.bundle, _ = readBundle(data, now)
	if c.announced != nil {
		c.bundle = append(c.bundle, c.announced.Leaf)
	}
	if c.serving, c.servingErr = readServing(data, now); c.serving == nil {
		return c
	}
	// By any CA that is published: what is served does not need the key to sign anew.
	if err := verify(c.serving, c.bundle, names, now); err != nil {
		c.serving, c.servingErr = nil, fmt.Errorf("verifying %s by %s: %w", servingCertKey, authorityCertKey, err)
	}
	return c
}

// readGiven reads a Secret that somebody else writes. With published, its ca.crt has
// to verify its certificate, or the CA of what is served now would be replaced by one
// that verifies nothing.
func readGiven(data map[string][]byte, names []string, published bool, now time.Time) contents {
	var c contents
	c.serving, c.servingErr = readServing(data, now)
	if c.serving == nil || !published {
		return c
	}
	bundle, err := readBundle(data, now)
	if err == nil {
		err = verify(c.serving, bundle, names, now)
	}
	if err != nil {
		c.serving, c.servingErr = nil, fmt.Errorf("verifying %s by %s: %w", servingCertKey, authorityCertKey, err)
		return c
	}
	c.bundle = bundle
	return c
}

func readServing(data map[string][]byte, now time.Time) (*tls.Certificate, error) {
	return readPair(data, servingCertKey, servingKeyKey, now)
}

func readAuthority(data map[string][]byte, certKey, keyKey string, now time.Time) (*tls.Certificate, error) {
	pair, err := readPair(data, certKey, keyKey, now)
	if err == nil && !pair.Leaf.IsCA {
		return nil, fmt.Errorf("reading %s: it is not a CA", certKey)
	}
	return pair, err
}

// readPair reads a certificate with its key, which has to fit.
func readPair(data map[string][]byte, certKey, keyKey string, now time.Time) (*tls.Certificate, error) {
	if len(data[certKey]) == 0 || len(data[keyKey]) == 0 {
		return nil, fmt.Errorf("reading %s and %s: empty", certKey, keyKey)
	}
	pair, err := tls.X509KeyPair(data[certKey], data[keyKey])
	if err == nil {
		err = validity(pair.Leaf, now)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s and %s: %w", certKey, keyKey, err)
	}
	return &pair, nil
}

// readBundle reads the CAs of ca.crt. They are published for a while after they have
// expired: by the clock of another replica, what they signed may still be in use.
func readBundle(data map[string][]byte, now time.Time) ([]*x509.Certificate, error) {
	if len(data[authorityCertKey]) == 0 {
		return nil, errors.New("there is none")
	}
	all, err := cert.ParseCertsPEM(data[authorityCertKey])
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(ca *x509.Certificate) bool { return now.After(ca.NotAfter.Add(Tolerance)) }), nil
}

// Change is a step of the Secret's. The zero value is none.
type Change string

// The steps of our own Secret.
const (
	// Started means a new CA and a serving certificate by it, where there was nothing
	// that could be used, in the Secret or in the caBundle.
	Started Change = "Started"
	// Renewed means a new serving certificate by the same CA.
	Renewed Change = "Renewed"
	// Announced means that the next CA is published and does not sign yet.
	Announced Change = "Announced"
	// Switched means that the announced CA signs from now on.
	Switched Change = "Switched"
)

// Changes returns every step there is.
func Changes() []Change { return []Change{Started, Renewed, Announced, Switched} }

// write returns the Secret's data after the change. data is what held was read from;
// keys of it that are not ours stay.
func (r rules) write(change Change, data map[string][]byte, held contents, now time.Time) (map[string][]byte, error) {
	data = maps.Clone(data)
	if data == nil {
		data = map[string][]byte{}
	}
	authority := held.authority
	var err error
	switch change {
	case Announced:
		next, err := newAuthority(r.periods.Authority, now)
		if err != nil {
			return nil, err
		}
		return data, encodePair(data, announcedCertKey, announcedKeyKey, next)
	case Switched:
		authority = held.announced
	case Started:
		if authority, err = newAuthority(r.periods.Authority, now); err != nil {
			return nil, err
		}
	case Renewed:
	}
	serving, err := sign(authority, r.names, r.periods.Serving, now)
	if err != nil {
		return nil, err
	}
	if change != Renewed {
		delete(data, announcedCertKey)
		delete(data, announcedKeyKey)
		retired := slices.DeleteFunc(slices.Clone(held.bundle), func(ca *x509.Certificate) bool {
			// A stranger's CA that somebody put into our Secret is not ours to keep.
			return ca.Equal(authority.Leaf) || ca.Subject.CommonName != authorityName
		})
		if err := encodePair(data, authorityCertKey, authorityKeyKey, authority, retired...); err != nil {
			return nil, err
		}
	}
	return data, encodePair(data, servingCertKey, servingKeyKey, serving)
}

func encodePair(data map[string][]byte, certKey, keyKey string, pair *tls.Certificate, others ...*x509.Certificate) error {
	certs, err := cert.EncodeCertificates(append([]*x509.Certificate{pair.Leaf}, others...)...)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", certKey, err)
	}
	key, err := keyutil.MarshalPrivateKeyToPEM(pair.PrivateKey)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", keyKey, err)
	}
	data[certKey], data[keyKey] = certs, key
	return nil
}
