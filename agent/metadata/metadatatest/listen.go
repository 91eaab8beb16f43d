package metadatatest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

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

// serve accepts on l until l is closed. s.mu is held.
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

// Connections is how many connections are open now.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
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
