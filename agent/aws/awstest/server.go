package awstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
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

// Server is a fake metadata service. Its methods may be called from several
// goroutines at a time.
type Server struct {
	addr     string
	trace    func(Request)
	http     *http.Server
	now      func() time.Time // this machine's clock; tests put another in its place
	serving  sync.WaitGroup   // the accept loops
	handlers sync.WaitGroup   // the requests under way

	mu        sync.Mutex
	listener  net.Listener // nil while connections are refused
	conns     map[net.Conn]struct{}
	closed    bool
	items     map[string]string
	tokens    map[string]time.Time
	notice    *notice
	readAt    time.Time
	offset    time.Duration
	fault     Fault
	ended     chan struct{} // closed when the present fault ends
	clearedAt time.Time
	traffic   traffic
}

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
func Start(opts Options) (*Server, error) {
	if opts.InstanceID == "" {
		opts.InstanceID = "i-0ebb71de0ebb71de0"
	}
	s := &Server{
		trace:  opts.Trace,
		now:    time.Now,
		conns:  map[net.Conn]struct{}{},
		items:  defaultItems(opts.InstanceID),
		tokens: map[string]time.Time{},
		ended:  make(chan struct{}),
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
	s.addr = listener.Addr().String()
	s.serve(listener)
	return s, nil
}

// URL is the endpoint to give to a client: scheme, host and port. It stays the
// same through every fault.
func (s *Server) URL() string { return "http://" + s.addr }

// Close ends the server, its connections and the requests that hang. Closing
// twice is allowed.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	close(s.ended)
	s.mu.Unlock()

	// The only error is that of closing listeners that are gone already.
	_ = s.http.Close()
	s.serving.Wait()
	s.handlers.Wait()
}

// The range from which a port is taken: outside of those that Linux and macOS
// use for outgoing connections, so that ConnectionRefused, which gives the port
// up for a while, gets it back.
const (
	firstPort = 20000
	lastPort  = 29999
)

func listen(addr string) (net.Listener, error) {
	if addr != "" {
		return listenOn(addr)
	}
	var err error
	for range 50 {
		port := firstPort + rand.IntN(lastPort-firstPort+1) //nolint:gosec // a port is no secret
		var l net.Listener
		if l, err = listenOn(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	return nil, err
}

func listenOn(addr string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("reading address %q: %w", addr, err)
	}
	l, err := net.ListenTCP("tcp", tcp)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", addr, err)
	}
	return l, nil
}

// serve accepts on l until l is closed.
func (s *Server) serve(l net.Listener) {
	s.listener = l
	s.serving.Go(func() {
		// Serve ends with an error in any case: the listener was closed by us.
		_ = s.http.Serve(l)
	})
}

// track keeps the open connections, so that ConnectionRefused can cut them.
func (s *Server) track(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.conns[conn] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(s.conns, conn)
	case http.StateActive, http.StateIdle:
	}
}

// refuse closes the port and every connection. s.mu is held.
func (s *Server) refuse() {
	_ = s.listener.Close()
	s.listener = nil
	for conn := range s.conns {
		_ = conn.Close()
	}
}

// reopenWithin is how long accept waits for a port that someone else took
// meanwhile.
const reopenWithin = 3 * time.Second

// accept opens the port that refuse closed. s.mu is held.
func (s *Server) accept() error {
	giveUp := time.After(reopenWithin)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		l, err := listenOn(s.addr)
		if err == nil {
			s.serve(l)
			return nil
		}
		select {
		case <-again.C:
		case <-giveUp:
			return err
		}
	}
}

// ErrClosed is what SetFault and ClearFault return when the Server was closed.
var ErrClosed = errors.New("the fake metadata service is closed")

// SetFault puts f in the way of every request from now on, in place of an
// earlier fault. Faults of the token path void the tokens handed out, so that
// they are felt at once. The error is that f is none of Faults, that the port
// could not be opened again after ConnectionRefused, or ErrClosed.
func (s *Server) SetFault(f Fault) error {
	behaviour, known := behaviours[f]
	if !known {
		return fmt.Errorf("setting fault %q: no such fault", f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.endFault(); err != nil {
		return err
	}
	s.fault = f
	if behaviour.voidsTokens {
		clear(s.tokens)
	}
	if f == ConnectionRefused {
		s.refuse()
	}
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
	if s.fault == "" {
		return nil
	}
	if s.listener == nil {
		if err := s.accept(); err != nil {
			return fmt.Errorf("ending fault %q: %w", s.fault, err)
		}
	}
	if s.fault.Effect() != Shows {
		s.clearedAt = s.now()
	}
	s.fault = ""
	close(s.ended)
	s.ended = make(chan struct{})
	return nil
}

// Fault is the present fault, empty when there is none.
func (s *Server) Fault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}
