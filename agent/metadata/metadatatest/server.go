package metadatatest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Cloud is the wire format of one cloud's metadata service. Its methods are
// called one at a time, and must not call those of Server.
type Cloud interface {
	// Answer is what the service says when nothing is in the way.
	Answer(ask Ask) Reply
	// Refuse is the page that the service sends with that status, when it has
	// nothing else to say.
	Refuse(status int) Reply
}

// TokenVoider is a Cloud that hands out tokens. VoidTokens is called as Answer
// is, when a fault begins that voids them.
type TokenVoider interface {
	VoidTokens()
}

// Options says how a Server is to be.
type Options struct {
	// Faults are those that the service can have; none when empty.
	Faults Definitions
	// Listen is the address to listen on. Empty means a free port of 127.0.0.1.
	Listen string
	// KeepAlive lets clients reuse a connection.
	KeepAlive bool
	// Trace, if any, is called for each request before it is answered. It must
	// not call the Server.
	Trace func(Request)
	// Arrived, if any, is called for each request as it arrives, which is long
	// before Trace where the request is held. It must not call the Server.
	Arrived func(Request)
	// Now is this machine's clock, nil means time.Now. Requests are held by the
	// real clock whatever this one says.
	Now func() time.Time
}

// Server is the frame of a fake metadata service. Its methods may be called
// from several goroutines at a time.
type Server struct {
	cloud    Cloud
	addr     string
	trace    func(Request)
	arrived  func(Request)
	http     *http.Server
	now      func() time.Time
	faults   Definitions
	serving  sync.WaitGroup // the accept loops
	handlers sync.WaitGroup // the requests under way

	mu        sync.Mutex
	listener  net.Listener // nil while connections are refused
	conns     map[net.Conn]struct{}
	closed    bool
	notices   []*Notice
	latest    *Notice // the one announced last, nil once withdrawn
	offset    time.Duration
	fault     Definition    // zero when there is none
	ended     chan struct{} // closed when the present fault ends
	changed   chan struct{} // closed when anything changes
	clearedAt time.Time
	traffic   traffic
}

// Start starts a Server that answers in the words of cloud; Close ends it. The
// error says why the address could not be listened on.
func Start(cloud Cloud, opts Options) (*Server, error) {
	ignore := func(Request) {}
	s := &Server{
		cloud: cloud, faults: opts.Faults, trace: ignore, arrived: ignore, now: time.Now,
		conns: map[net.Conn]struct{}{},
		ended: make(chan struct{}), changed: make(chan struct{}),
	}
	if opts.Trace != nil {
		s.trace = opts.Trace
	}
	if opts.Arrived != nil {
		s.arrived = opts.Arrived
	}
	if opts.Now != nil {
		s.now = opts.Now
	}
	s.traffic.reset()
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		ConnState:         s.track,
	}
	s.http.SetKeepAlivesEnabled(opts.KeepAlive)

	listener, err := listen(opts.Listen)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr = listener.Addr().String()
	s.serve(listener)
	return s, nil
}

// URL is the endpoint to give to a client: scheme, host and port. It stays the
// same through every fault.
func (s *Server) URL() string { return "http://" + s.addr }

// Close ends the server, its connections and the requests that hang or are held.
// Closing twice is allowed.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	close(s.ended)
	close(s.changed)
	s.mu.Unlock()

	// The only error is that of closing listeners that are gone already.
	_ = s.http.Close()
	s.serving.Wait()
	s.handlers.Wait()
}

// Update runs change, which may write the state that the Cloud's methods use and
// must not call the Server, and lets held requests be answered anew.
func (s *Server) Update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.wake()
}

// wake lets held requests be answered anew. s.mu is held.
func (s *Server) wake() {
	if s.closed {
		return
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// Now is this machine's clock, as the Server sees it.
func (s *Server) Now() time.Time { return s.now() }

// SetClockOffset makes the cloud's clock run ahead of this machine's by offset,
// or behind if it is negative: the Date header and every time in a reply.
func (s *Server) SetClockOffset(offset time.Duration) {
	s.Update(func() { s.offset = offset })
}

// ErrClosed is what SetFault and ClearFault return when the Server was closed.
var ErrClosed = errors.New("the fake metadata service is closed")

// SetFault puts f in the way of every request from now on, in place of an
// earlier fault. A fault that voids tokens does so now, so that it is felt at
// once. The error is that f is none of the Server's faults, that the port could
// not be opened again after ConnectionRefused, or ErrClosed.
func (s *Server) SetFault(f Fault) error {
	fault, known := s.faults.Find(f)
	if !known {
		return fmt.Errorf("setting fault %q: no such fault", f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.endFault(); err != nil {
		return err
	}
	s.fault = fault
	if voider, hands := s.cloud.(TokenVoider); hands && fault.VoidsTokens {
		voider.VoidTokens()
	}
	if fault.refuses {
		s.refuse()
	}
	s.wake()
	return nil
}

// ClearFault ends the present fault, if any. Requests that hang are cut off,
// not answered. Errors are those of SetFault.
func (s *Server) ClearFault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endFault()
}

// endFault leaves the server without a fault. s.mu is held.
func (s *Server) endFault() error {
	if s.closed {
		return ErrClosed
	}
	if s.fault.Fault == "" {
		return nil
	}
	if s.listener == nil {
		if err := s.accept(); err != nil {
			return fmt.Errorf("ending fault %q: %w", s.fault.Fault, err)
		}
	}
	if s.fault.Effect != Shows {
		s.clearedAt = s.now()
	}
	s.fault = Definition{}
	close(s.ended)
	s.ended = make(chan struct{})
	s.wake()
	return nil
}

// Fault is the present fault, empty when there is none.
func (s *Server) Fault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault.Fault
}

// Faults are those that the service can have.
func (s *Server) Faults() Definitions { return s.faults }
