package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/cert"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// endpoint is a server of reviews on loopback.
type endpoint struct {
	url      string
	caBundle []byte
}

// onLoopback gives a server a certificate of its own, and a listener.
func onLoopback(t testing.TB, server *Server) (endpoint, net.Listener) {
	t.Helper()
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return endpoint{url: "https://" + listener.Addr().String() + Path, caBundle: certificate}, listener
}

// serve runs a server for the time of the test.
func serve(t testing.TB, handler http.Handler) endpoint {
	t.Helper()
	server := &Server{Handler: handler, Log: slog.New(slog.DiscardHandler)}
	at, listener := onLoopback(t, server)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return at
}

// trusting returns a client of the endpoint that offers these versions of TLS.
func trusting(t testing.TB, at endpoint, versions *tls.Config) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(at.caBundle)
	versions.RootCAs = roots
	transport := &http.Transport{TLSClientConfig: versions, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// reply is what came back, and over what.
type reply struct {
	status, http int
	tls          uint16
}

func send(t testing.TB, client *http.Client, url string, body []byte) (reply, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return reply{status: response.StatusCode, http: response.ProtoMajor, tls: response.TLS.Version}, err
}

func TestReviewsAreServedOverTLS13AndHTTP2Only(t *testing.T) {
	t.Parallel()
	handler, _ := newHandler(t, caseCluster(t))
	at := serve(t, handler)
	review := reviewOf(t, requestFor(rawPod(t, requiredPod), nil))
	got, err := send(t, trusting(t, at, &tls.Config{MinVersion: tls.VersionTLS13}), at.url, review)
	if err != nil {
		t.Fatal(err)
	}
	if want := (reply{status: http.StatusOK, http: 2, tls: tls.VersionTLS13}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	old := trusting(t, at, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}) //nolint:gosec // it is what must be refused
	if _, err := send(t, old, at.url, review); err == nil {
		t.Error("TLS 1.2 was accepted")
	}
}

// slow answers when it is told to.
type slow struct{ asked, answer chan struct{} }

func (s slow) ServeHTTP(http.ResponseWriter, *http.Request) {
	close(s.asked)
	<-s.answer
}

func TestAReviewThatIsBeingAnsweredOutlivesTheStop(t *testing.T) {
	t.Parallel()
	handler := slow{asked: make(chan struct{}), answer: make(chan struct{})}
	server := &Server{Handler: handler, Log: slog.New(slog.DiscardHandler), Linger: time.Millisecond}
	at, listener := onLoopback(t, server)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	answered := make(chan error, 1)
	go func() {
		_, err := send(t, trusting(t, at, &tls.Config{MinVersion: tls.VersionTLS13}), at.url, nil)
		answered <- err
	}()
	<-handler.asked
	stop()
	select {
	case err := <-served:
		t.Fatalf("the server ended before its answer: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(handler.answer)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestReadinessIsAGaugeOfEachCheck(t *testing.T) {
	t.Parallel()
	missing := errors.New("expired")
	checks := Checks{
		"cluster":     func() error { return nil },
		"certificate": func() error { return missing },
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(checks.Collector())
	read := func(check string) float64 { return placementtest.Metric(t, registry, "ebbtide_placement_ready", check) }
	if cluster, certificate := read("cluster"), read("certificate"); cluster != 1 || certificate != 0 {
		t.Errorf("cluster is %v and certificate %v, want 1 and 0", cluster, certificate)
	}
	if missing = nil; read("certificate") != 1 {
		t.Error("what holds again is still 0")
	}
}

func TestReadinessNamesWhatDoesNotHold(t *testing.T) {
	t.Parallel()
	var missing error
	handler := StatusHandler(Checks{
		"cluster":     func() error { return nil },
		"certificate": func() error { return missing },
	}, prometheus.NewRegistry())
	get := func(path string) (int, string) {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		return recorder.Code, recorder.Body.String()
	}
	for _, c := range []struct {
		missing error
		status  int
		body    string
	}{
		{nil, http.StatusOK, "[+] certificate: ok\n[+] cluster: ok\n"},
		{errors.New("expired"), http.StatusServiceUnavailable, "[+] cluster: ok\n[-] certificate: expired\n"},
	} {
		missing = c.missing
		status, body := get("/readyz")
		if status != c.status {
			t.Errorf("status %d, want %d", status, c.status)
		}
		if diff := cmp.Diff(c.body, body); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
		if status, _ := get("/healthz"); status != http.StatusOK {
			t.Errorf("healthz: status %d", status)
		}
	}
	if status, _ := get("/metrics"); status != http.StatusOK {
		t.Errorf("metrics: status %d", status)
	}
}
