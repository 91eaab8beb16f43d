package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// reviewWithin bounds the reading of a review and the writing of its answer. The API
	// server gives up after one second.
	reviewWithin = 5 * time.Second
	// idleTimeout is longer than the API server keeps a connection that it does not use,
	// so that it is not we who close one that it is about to use.
	idleTimeout = 2 * time.Minute
	// maxHeader is how long the header of a request may be, in bytes.
	maxHeader = 16 << 10
	// stopWithin bounds the wait for reviews that are being answered.
	stopWithin = 5 * time.Second
)

// Server serves reviews to the API server, over TLS 1.3 and HTTP/2. It does not ask
// who is asking: API servers present no certificate unless they are told to, and what
// can be learned here is which nodes a pod would be sent to.
type Server struct {
	Handler http.Handler
	// GetCertificate gives the certificate of each new connection.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Linger is how long it goes on serving after it was told to stop. The pod's
	// endpoint is taken away at the same time, and until every API server knows, they
	// go on asking here. Zero stops at once.
	Linger time.Duration
	Log    *slog.Logger
}

// Serve serves on the listener until ctx ends, and then until Linger has passed and
// what was asked is answered. It closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle(Path, s.Handler)
	server := &http.Server{
		Handler: mux,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, GetCertificate: s.GetCertificate,
			// A ticket would let a connection be resumed on a certificate that has been replaced.
			SessionTicketsDisabled: true,
		},
		ReadHeaderTimeout: reviewWithin, ReadTimeout: reviewWithin, WriteTimeout: reviewWithin,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		// Handshakes that fail: a probe of the port, or an API server that does not trust
		// the certificate, which readiness and the API server's own metrics tell of.
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- s.stop(context.WithoutCancel(ctx), server) })
	err := server.ServeTLS(listener, "", "")
	if stop() {
		// It ended by itself.
		return fmt.Errorf("serving reviews: %w", errors.Join(err, server.Close()))
	}
	return <-stopped
}

func (s *Server) stop(ctx context.Context, server *http.Server) error {
	if s.Linger > 0 {
		<-time.After(s.Linger)
	}
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.Log.Warn("Cut off reviews that were being answered", "err", err)
		return server.Close()
	}
	return nil
}

// Checks are what has to hold before the API server may ask here, by name: nil when it
// does. They must not block.
type Checks map[string]func() error

// StatusHandler serves /metrics, /healthz and /readyz. The last one says which checks
// do not hold, and fails while one does not.
func StatusHandler(checks Checks, gatherer prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		lines, ready := checks.describe()
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte(lines))
	})
	return mux
}

// Collector serves the checks as a gauge with a series for each, which is asked for when
// it is scraped. Checks that are added later are not part of it.
func (c Checks) Collector() prometheus.Collector {
	return readiness{maps.Clone(c), prometheus.NewDesc("ebbtide_placement_ready",
		"1 while a check of readiness holds, else 0. A replica is Ready while all of its checks hold.", []string{"check"}, nil)}
}

type readiness struct {
	checks      Checks
	description *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (r readiness) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- r.description }

// Collect implements [prometheus.Collector].
func (r readiness) Collect(metrics chan<- prometheus.Metric) {
	for name, check := range r.checks {
		value := 0.0
		if check() == nil {
			value = 1
		}
		metrics <- prometheus.MustNewConstMetric(r.description, prometheus.GaugeValue, value, name)
	}
}

func (c Checks) describe() (lines string, ready bool) {
	all := make([]string, 0, len(c))
	ready = true
	for name, check := range c {
		if err := check(); err != nil {
			all, ready = append(all, fmt.Sprintf("[-] %s: %v\n", name, err)), false
			continue
		}
		all = append(all, fmt.Sprintf("[+] %s: ok\n", name))
	}
	slices.Sort(all)
	return strings.Join(all, ""), ready
}
