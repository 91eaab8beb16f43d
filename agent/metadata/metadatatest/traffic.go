package metadatatest

import (
	"maps"
	"slices"
	"time"
)

// Request is one request as it arrived.
type Request struct {
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	// Query is what followed a question mark.
	Query string `json:"query,omitempty"`
	// Status is what was answered; 0 if nothing was, or is not yet.
	Status int `json:"status"`
	// Fault is the fault that was in the way, if any.
	Fault Fault `json:"fault,omitempty"`
}

// keptRequests is how many requests Log and Peak look back on: some hours of a
// client that polls each second.
const keptRequests = 20_000

type traffic struct {
	counts map[string]int
	log    []*Request
}

func (t *traffic) reset() { *t = traffic{counts: map[string]int{}} }

func (t *traffic) add(r *Request) {
	t.counts[r.Method+" "+r.Path]++
	if len(t.log) == keptRequests {
		t.log = slices.Delete(t.log, 0, keptRequests/2)
	}
	t.log = append(t.log, r)
}

// peak is the largest number of requests within any window of that length.
func (t *traffic) peak(window time.Duration) int {
	most, first := 0, 0
	for last := range t.log {
		for t.log[last].At.Sub(t.log[first].At) >= window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// Requests counts what was asked since the start or ResetRequests, by method
// and path without query: "PUT /latest/api/token". Connections that
// ConnectionRefused turned away are not among them.
func (s *Server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.traffic.counts)
}

// Log is the latest requests, oldest first: at least 10000 of them if there
// were as many.
func (s *Server) Log() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := make([]Request, len(s.traffic.log))
	for i, r := range s.traffic.log {
		log[i] = *r
	}
	return log
}

// Peak is the largest number of requests that arrived within any window of the
// given length, among those that Log holds.
func (s *Server) Peak(window time.Duration) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.traffic.peak(window)
}

// ResetRequests forgets the requests seen so far.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traffic.reset()
}
