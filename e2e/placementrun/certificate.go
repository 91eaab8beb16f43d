package placementrun

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Served returns the certificate that the replicas share, from their Secret.
func (i *Installation) Served(ctx context.Context) (tls.Certificate, error) {
	return i.pair(ctx, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
}

// Expired returns a certificate for the front by the CA that the replicas share, which
// the API server trusts. It expired a minute ago.
func (i *Installation) Expired(ctx context.Context) (tls.Certificate, error) {
	ca, err := i.pair(ctx, corev1.ServiceAccountRootCAKey, "ca.key")
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	return sign(&ca, now.Add(-time.Hour), now.Add(-time.Minute))
}

// Strange returns a certificate for the front that is valid and that nobody whom the
// API server knows has signed.
func Strange() (tls.Certificate, error) {
	now := time.Now()
	return sign(nil, now.Add(-time.Hour), now.Add(time.Hour))
}

// pair reads a certificate with its key from the replicas' Secret.
func (i *Installation) pair(ctx context.Context, certKey, keyKey string) (tls.Certificate, error) {
	secret, err := i.lab.Client().CoreV1().Secrets(i.namespace).Get(ctx, Secret, metav1.GetOptions{})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading Secret %q: %w", Secret, err)
	}
	pair, err := tls.X509KeyPair(secret.Data[certKey], secret.Data[keyKey])
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading %q of Secret %q: %w", certKey, Secret, err)
	}
	return pair, nil
}

// sign makes a certificate for loopback by a CA; nil is the certificate itself.
func sign(ca *tls.Certificate, from, until time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(from.UnixNano()), Subject: pkix.Name{CommonName: "ebbtide-lab"},
		NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
	}
	parent, signer := template, crypto.PrivateKey(key)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("signing a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("signing a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Store puts a certificate into the replicas' Secret, in the place of the one that they
// share.
func (i *Installation) Store(ctx context.Context, certificate tls.Certificate) error {
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		return fmt.Errorf("encoding a key: %w", err)
	}
	patch, err := json.Marshal(map[string]any{"data": map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Leaf.Raw}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	}})
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	secrets := i.lab.Client().CoreV1().Secrets(i.namespace)
	if _, err := secrets.Patch(ctx, Secret, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patching Secret %q: %w", Secret, err)
	}
	return nil
}
