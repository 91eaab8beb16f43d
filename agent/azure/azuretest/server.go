package azuretest

import (
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// Machine is how the machine is called unless Options says otherwise: an instance
// of a scale set of AKS.
const Machine = "aks-spot-12345678-vmss_7"

// Options says how a Server is to be. The zero value is a good default.
type Options struct {
	// Listen is the address to listen on. Empty means a free port of 127.0.0.1.
	Listen string
	// KeepAlive lets clients reuse a connection.
	KeepAlive bool
	// Machine is what the item compute/name holds; empty means the constant.
	Machine string
	// Asleep is how long after the first request for events they are answered: the
	// real service may take two minutes.
	Asleep time.Duration
	// Trace, if any, is called for each request before it is answered. It must
	// not call the Server.
	Trace func(metadatatest.Request)
}

// Server is a fake metadata service. Its methods may be called from several
// goroutines at a time.
type Server struct {
	*metadatatest.Server
	machine string

	// The rest is guarded by Update, as Answer is.
	asleep      time.Duration
	awakeAt     time.Time // zero until events are next asked for
	incarnation int
	latest      []string // the events that were last on the list, with their status
	begun       map[string]bool
	requested   []string
}

var _ metadatatest.Cloud = (*Server)(nil)

// TB is the part of testing.TB that New uses.
type TB interface {
	Helper()
	Cleanup(fn func())
	Fatalf(format string, args ...any)
}

// New starts a Server and closes it when the test ends.
func New(t TB, opts Options) *Server {
	t.Helper()
	s, err := Start(opts)
	if err != nil {
		t.Fatalf("starting the fake metadata service: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// Start starts a Server; Close ends it. The error says why the address could
// not be listened on.
func Start(opts Options) (*Server, error) {
	if opts.Machine == "" {
		opts.Machine = Machine
	}
	s := &Server{machine: opts.Machine, asleep: opts.Asleep, incarnation: 1, begun: map[string]bool{}}
	var err error
	s.Server, err = metadatatest.Start(s, metadatatest.Options{
		Faults: faults, Listen: opts.Listen, KeepAlive: opts.KeepAlive, Trace: opts.Trace,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// WakeUp ends the time for which the list of events is kept back.
func (s *Server) WakeUp() { s.Update(func() { s.asleep, s.awakeAt = 0, s.Now() }) }

// FallAsleep keeps the list of events back for d from the next request for it, as
// the real service does that was not asked for a day.
func (s *Server) FallAsleep(d time.Duration) {
	s.Update(func() { s.asleep, s.awakeAt = d, time.Time{} })
}

// Machine is how the machine is called.
func (s *Server) Machine() string { return s.machine }

// Rename lets the service be that of another machine from now on, as one that a proxy
// leads to.
func (s *Server) Rename(machine string) { s.Update(func() { s.machine = machine }) }

// Requested are the events that clients asked to start early, in order.
func (s *Server) Requested() []string {
	var requested []string
	s.Update(func() { requested = slices.Clone(s.requested) })
	return requested
}
