package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/util/cert"
)

// startTLS starts a server that says nothing of those who do not trust it, or have no
// more to say than a handshake.
func startTLS(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestAHandshakeSucceedsByTheTrustOfAnEntryOnly(t *testing.T) {
	t.Parallel()
	server := startTLS(t)
	its, err := cert.EncodeCertificates(server.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	strange, _, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := server.Listener.Addr().String()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, c := range map[string]struct {
		address string
		bundle  []byte
		trusted bool
	}{
		"its own CA":              {address, its, true},
		"its own CA and another":  {address, append(strange, its...), true},
		"another CA":              {address, strange, false},
		"no CA":                   {address, nil, false},
		"garbage":                 {address, []byte("garbage"), false},
		"nobody is there to ask":  {gone.Listener.Addr().String(), its, false},
		"nobody knows an address": {"", its, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLookout(nil)
			entry := &admissionregistrationv1.MutatingWebhook{ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: c.bundle}}
			l.note(l.shake(t.Context(), c.address, entry))
			want := 0
			if c.trusted {
				want = 1
			}
			if len(l.certificates) != want || len(l.authorities) != want || l.distrusted != 1-want {
				t.Errorf("%d certificates of %d CAs were seen, and %d handshakes failed, as in: %v", len(l.certificates), len(l.authorities), l.distrusted, l.distrust)
			}
		})
	}
}

func TestTheSameCertificateIsCountedOnce(t *testing.T) {
	t.Parallel()
	l := newLookout(nil)
	for range 2 {
		server := startTLS(t) // with the same certificate each
		bundle, err := cert.EncodeCertificates(server.Certificate())
		if err != nil {
			t.Fatal(err)
		}
		entry := &admissionregistrationv1.MutatingWebhook{ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: bundle}}
		if err := l.shake(t.Context(), server.Listener.Addr().String(), entry); err != nil {
			t.Error(err)
		}
	}
	if len(l.certificates) != 1 || len(l.authorities) != 1 {
		t.Errorf("%d certificates of %d CAs, want one", len(l.certificates), len(l.authorities))
	}
}
