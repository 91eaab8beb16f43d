package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/placementrun"
)

// handshakeWithin is as long as an API server waits for a webhook, too.
const handshakeWithin = time.Second

// lookout looks at the certificates that replicas serve, as an API server does that
// meets them for the first time: it trusts what the live webhook configuration says.
// It is used by one goroutine.
type lookout struct {
	client    kubernetes.Interface
	addresses []string // host:port

	// certificates and authorities are the digests of all that were seen.
	certificates, authorities map[[sha256.Size]byte]bool
	// distrusted counts handshakes that failed, of which distrust was the last.
	distrusted int
	distrust   error
}

func newLookout(client kubernetes.Interface) *lookout {
	return &lookout{
		client:       client,
		certificates: map[[sha256.Size]byte]bool{}, authorities: map[[sha256.Size]byte]bool{},
	}
}

// look shakes hands with each replica, by the trust of each entry.
func (l *lookout) look(ctx context.Context) {
	live, err := l.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, placementrun.Configuration, metav1.GetOptions{})
	if err != nil {
		l.note(fmt.Errorf("reading webhook configuration %q: %w", placementrun.Configuration, err))
		return
	}
	for i := range live.Webhooks {
		for _, address := range l.addresses {
			l.note(l.shake(ctx, address, &live.Webhooks[i]))
		}
	}
}

func (l *lookout) note(err error) {
	if err != nil {
		l.distrusted++
		l.distrust = err
	}
}

func (l *lookout) shake(ctx context.Context, address string, entry *admissionregistrationv1.MutatingWebhook) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(entry.ClientConfig.CABundle)
	dialer := &tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS13}}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("shaking hands with %q by the trust of %q: %w", address, entry.Name, err)
	}
	defer func() { _ = connection.Close() }()
	secured, ok := connection.(*tls.Conn)
	if !ok {
		return fmt.Errorf("shaking hands with %q: the connection is a %T", address, connection)
	}
	state := secured.ConnectionState()
	l.certificates[sha256.Sum256(state.PeerCertificates[0].Raw)] = true
	chain := state.VerifiedChains[0]
	l.authorities[sha256.Sum256(chain[len(chain)-1].Raw)] = true
	return nil
}
