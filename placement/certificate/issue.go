package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"time"
)

// authorityName is the subject of every CA of ours. They are told apart by their key
// identifiers, which the verifier goes by.
const authorityName = "ebbtide-placement-ca"

// newAuthority makes a CA. client-go's NewSelfSignedCACert gives one ten years, and a
// CA that is replaced by overlap has to end soon after it was.
func newAuthority(life time.Duration, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: authorityName},
		NotBefore:             now.Add(-Tolerance),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		// It signs serving certificates, and no other CA.
		MaxPathLenZero: true,
	}
	issued, err := issue(template, nil)
	if err != nil {
		return nil, fmt.Errorf("making a CA: %w", err)
	}
	return issued, nil
}

// sign makes a serving certificate for names, which may be DNS names and addresses.
// It never outlives the authority.
func sign(authority *tls.Certificate, names []string, life time.Duration, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "ebbtide-placement"},
		NotBefore:             now.Add(-Tolerance),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if end := authority.Leaf.NotAfter; template.NotAfter.After(end) {
		template.NotAfter = end
	}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	issued, err := issue(template, authority)
	if err != nil {
		return nil, fmt.Errorf("signing a serving certificate for %q: %w", names, err)
	}
	return issued, nil
}

// issue makes a key and signs the certificate for it; without an authority the key
// signs its own.
func issue(template *x509.Certificate, authority *tls.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	parent, signer := template, crypto.PrivateKey(key)
	if authority != nil {
		parent, signer = authority.Leaf, authority.PrivateKey
	}
	// A nil serial number is chosen at random.
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading what was signed: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// ageOf is how long ago one of our certificates was issued.
func ageOf(issued *tls.Certificate, now time.Time) time.Duration {
	return now.Sub(issuedAt(issued))
}

func issuedAt(issued *tls.Certificate) time.Time { return issued.Leaf.NotBefore.Add(Tolerance) }

// validity says why a certificate is not valid now; nil means that it is.
func validity(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("it is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case now.After(leaf.NotAfter):
		return fmt.Errorf("it expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
