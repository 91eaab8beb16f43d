package gcptest

import (
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// Options says how a Server is to be. The zero value is a good default.
type Options struct {
	// Listen is the address to listen on. Empty means a free port of 127.0.0.1.
	Listen string
	// KeepAlive lets clients reuse a connection.
	KeepAlive bool
	// Second is how long a second of timeout_sec lasts; 0 means a second.
	Second time.Duration
	// Trace and Arrived are as in metadatatest.Options.
	Trace, Arrived func(metadatatest.Request)
}

// Server is a fake metadata server. Its methods may be called from several
// goroutines at a time.
type Server struct {
	*metadatatest.Server
	second time.Duration

	keys map[string]string // guarded by Update, as Answer is
}

var _ metadatatest.Cloud = (*Server)(nil)

// TB is the part of testing.TB that New uses.
type TB interface {
	Helper()
	Cleanup(fn func())
	Fatalf(format string, args ...any)
}

// New starts a Server with default Options and closes it when the test ends.
func New(t TB) *Server {
	t.Helper()
	s, err := Start(Options{})
	if err != nil {
		t.Fatalf("starting the fake metadata server: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// Start starts a Server; Close ends it. The error says why the address could
// not be listened on.
func Start(o Options) (*Server, error) {
	s := &Server{second: o.Second, keys: defaultKeys()}
	if s.second == 0 {
		s.second = time.Second
	}
	var err error
	s.Server, err = metadatatest.Start(s, metadatatest.Options{
		Faults: faults, Listen: o.Listen, KeepAlive: o.KeepAlive, Trace: o.Trace, Arrived: o.Arrived,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}
