package awstest

import (
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// Options says how a Server is to be. The zero value is a good default.
type Options struct {
	// Listen is the address to listen on. Empty means a free port of 127.0.0.1.
	Listen string
	// KeepAlive lets clients reuse a connection. The real service has been seen
	// to close it after each reply, and so does the fake unless told otherwise.
	KeepAlive bool
	// InstanceID is what the item instance-id holds; empty means one made up.
	InstanceID string
	// Trace, if any, is called for each request before it is answered. It must
	// not call the Server.
	Trace func(Request)
}

// Request is one request as it arrived.
type Request = metadatatest.Request

// Status is what Control tells about a Server.
type Status = metadatatest.Status

// Server is a fake metadata service. Its methods may be called from several
// goroutines at a time.
type Server struct {
	*metadatatest.Server

	// The rest is guarded by Update, as Answer is.
	items  map[string]string
	tokens map[string]time.Time
}

var (
	_ metadatatest.Cloud       = (*Server)(nil)
	_ metadatatest.TokenVoider = (*Server)(nil)
)

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
		t.Fatalf("starting the fake metadata service: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// Start starts a Server; Close ends it. The error says why the address could
// not be listened on.
func Start(opts Options) (*Server, error) { return start(opts, nil) }

// start is Start with another clock; nil means this machine's.
func start(opts Options, now func() time.Time) (*Server, error) {
	if opts.InstanceID == "" {
		opts.InstanceID = "i-0ebb71de0ebb71de0"
	}
	s := &Server{items: defaultItems(opts.InstanceID), tokens: map[string]time.Time{}}
	var err error
	s.Server, err = metadatatest.Start(s, metadatatest.Options{
		Faults: definitions, Listen: opts.Listen, KeepAlive: opts.KeepAlive, Trace: opts.Trace, Now: now,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// SetFault puts f in the way of every request from now on, in place of an
// earlier fault. Faults of the token path void the tokens handed out, so that
// they are felt at once. The error is that f is none of Faults, that the port
// could not be opened again after ConnectionRefused, or metadatatest.ErrClosed.
func (s *Server) SetFault(f Fault) error { return s.Server.SetFault(metadatatest.Fault(f)) }

// Fault is the present fault, empty when there is none.
func (s *Server) Fault() Fault { return Fault(s.Server.Fault()) }
