package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// relay stands between the API server and the replicas of the webhook, as a Service
// does: it hands each new connection to the next replica. It carries bytes and sees no
// certificate; the TLS is that of the replicas.
//
// An API server keeps its connections, and on one that it has it never looks at a
// certificate again. The relay can make it connect anew.
type relay struct {
	listener net.Listener
	working  sync.WaitGroup

	mu      sync.Mutex
	targets []string // host:port
	handed  int      // connections so far
	open    map[*carried]bool
	closed  bool
}

// carried is one connection, from the API server to a replica.
type carried struct {
	client, server *net.TCPConn
	// left is closed when the API server has closed its end.
	left chan struct{}
}

// startRelay starts a relay on loopback that has nobody yet to hand connections to.
func startRelay(ctx context.Context) (*relay, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a relay: %w", err)
	}
	r := &relay{listener: listener, open: map[*carried]bool{}}
	ctx = context.WithoutCancel(ctx)
	r.working.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // close was called
			}
			r.working.Go(func() { r.carry(ctx, client) })
		}
	})
	return r, nil
}

// address returns the relay's host and port.
func (r *relay) address() string { return r.listener.Addr().String() }

// handTo says which addresses connections are handed to from now on, in turn.
func (r *relay) handTo(targets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.targets = targets
}

// connections returns how many were handed on so far.
func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.handed
}

// carry carries one connection to its end. One that cannot be carried is closed, which
// the API server counts as a call that failed.
func (r *relay) carry(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.next())
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	c := &carried{left: make(chan struct{})}
	var ok bool
	if c.client, ok = client.(*net.TCPConn); !ok {
		return
	}
	if c.server, ok = server.(*net.TCPConn); !ok || !r.take(c) {
		return
	}
	defer r.drop(c)
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(c.client, c.server)
		// The replica has closed its end: the API server, which learns of it, will too.
		_ = c.client.CloseWrite()
	})
	_, _ = io.Copy(c.server, c.client)
	close(c.left)
	_ = c.server.Close()
	answers.Wait()
}

func (r *relay) next() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.targets) == 0 {
		return ""
	}
	r.handed++
	return r.targets[r.handed%len(r.targets)]
}

func (r *relay) take(c *carried) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.open[c] = true
	return true
}

func (r *relay) drop(c *carried) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
}

// renew ends every connection, and returns when the API server has closed its ends and
// so knows that it has to connect anew. No call may be under way: one that is cut off
// fails for another reason than the one that is looked for.
func (r *relay) renew(ctx context.Context) error {
	r.mu.Lock()
	open := make([]*carried, 0, len(r.open))
	for c := range r.open {
		open = append(open, c)
	}
	r.mu.Unlock()
	for _, c := range open {
		// This half only: the other one tells when the API server has learned of it, or
		// that it had closed the connection before.
		_ = c.client.CloseWrite()
	}
	for _, c := range open {
		select {
		case <-c.left:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the API server to close a connection: %w", context.Cause(ctx))
		}
	}
	return nil
}

// close ends the relay and every connection.
func (r *relay) close() error {
	err := r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for c := range r.open {
		_ = c.client.Close()
		_ = c.server.Close()
	}
	r.mu.Unlock()
	r.working.Wait()
	if err != nil {
		return fmt.Errorf("closing a relay: %w", err)
	}
	return nil
}
