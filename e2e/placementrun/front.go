package placementrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Front is what the API server calls in the place of a Service: a listener on loopback
// that hands each new connection to the next replica. It carries bytes and sees no
// certificate. Like a Service it knows nothing of how its replicas fare: a connection
// to one that is gone fails, and is not handed to another.
//
// An API server keeps its connections for minutes and sends every review on the one
// that it has. What changes for new connections only changes for reviews when
// [Front.Cut] makes it connect anew. Its methods may be called from several goroutines.
type Front struct {
	listener net.Listener
	cancel   context.CancelFunc // of everything that is carried
	working  sync.WaitGroup

	mu       sync.Mutex
	replicas []string // host:port
	fault    Fault    // nil: none
	taken    int      // connections so far
	open     map[net.Conn]bool
	closed   bool
}

// StartFront starts a front without a replica; see [Front.HandTo]. ctx bounds the start
// only. The caller closes it.
func StartFront(ctx context.Context) (*Front, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a front: %w", err)
	}
	f := &Front{listener: listener, open: map[net.Conn]bool{}}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	f.working.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // Close was called.
			}
			f.working.Go(func() { f.serve(ctx, connection) })
		}
	})
	return f, nil
}

// URL returns the front's address, for the program's webhook.url.
func (f *Front) URL() string { return "https://" + f.listener.Addr().String() }

// HandTo says which addresses new connections are handed to from now on, in turn;
// connections that are open stay where they are. With none, each new one is reset.
func (f *Front) HandTo(addresses ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas = addresses
}

// Fail lets a fault have every connection from now on, and cuts those that are open.
func (f *Front) Fail(fault Fault) { f.change(fault) }

// Mend ends the fault, and cuts the connections that had it.
func (f *Front) Mend() { f.change(nil) }

func (f *Front) change(fault Fault) {
	f.mu.Lock()
	f.fault = fault
	f.mu.Unlock()
	f.Cut()
}

// Cut resets every connection that is open. Reviews that are under way fail.
func (f *Front) Cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for connection := range f.open {
		reset(connection)
	}
}

// Taken returns how many connections were taken so far.
func (f *Front) Taken() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.taken
}

// Close ends the front and its connections. A second call does nothing.
func (f *Front) Close() error {
	f.mu.Lock()
	closed := f.closed
	f.closed = true
	f.mu.Unlock()
	if closed {
		return nil
	}
	err := f.listener.Close()
	f.cancel()
	f.Cut()
	f.working.Wait()
	return err
}

// serve takes one connection to its end.
func (f *Front) serve(ctx context.Context, connection net.Conn) {
	defer func() { _ = connection.Close() }()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	fault, address := f.fault, ""
	if len(f.replicas) > 0 {
		address = f.replicas[f.taken%len(f.replicas)]
	}
	f.taken++
	f.open[connection] = true
	f.mu.Unlock()
	defer f.forget(connection)
	switch {
	case fault != nil:
		fault.meet(connection)
	case address == "":
		reset(connection)
	default:
		carry(ctx, connection, address)
	}
}

func (f *Front) forget(connection net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, connection)
}

// carry carries bytes between a connection and a replica until either end closes. Both
// speak TLS, which says itself when it is done: a half that is closed is of no use.
func carry(ctx context.Context, connection net.Conn, address string) {
	replica, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		reset(connection)
		return
	}
	var carrying sync.WaitGroup
	carrying.Go(func() {
		_, _ = io.Copy(replica, connection) // How a connection ends is its ends' matter.
		_ = replica.Close()
	})
	_, err = io.Copy(connection, replica)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		reset(connection)
	}
	_ = connection.Close()
	_ = replica.Close()
	carrying.Wait()
}

// reset closes a connection as a host does on which nobody knows of it.
func reset(connection net.Conn) {
	if tcp, is := connection.(*net.TCPConn); is {
		_ = tcp.SetLinger(0)
	}
	_ = connection.Close()
}
