package awstest

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
)

// reply is one answer of the service, before a fault tampers with it.
type reply struct {
	status int    // 0 when there is to be no answer
	kind   string // Content-Type
	header map[string]string
	body   string
	// padding is how many bytes go into the last string of a JSON body.
	padding int
	// notice is what the body tells a client of; nil for every other item.
	notice *notice
}

func text(body string) reply { return reply{status: http.StatusOK, kind: "text/plain", body: body} }

func jsonReply(body string) reply {
	return reply{status: http.StatusOK, kind: "application/json", body: body}
}

// refusal is an answer without content: the page that the real service sends
// says no more than the status.
func refusal(status int) reply {
	title := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	return reply{
		status: status,
		kind:   "text/html",
		body: `<?xml version="1.0" encoding="iso-8859-1"?>
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>` + title + `</title>
 </head>
 <body>
  <h1>` + title + `</h1>
 </body>
</html>
`,
	}
}

// head writes everything but the body.
func (r reply) head(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", r.kind)
	h.Set("Content-Length", strconv.Itoa(len(r.body)+r.padding))
	for key, value := range r.header {
		h.Set(key, value)
	}
	w.WriteHeader(r.status)
}

// send is the honest delivery. A client that went away gets nothing, which is
// no concern of ours.
func (r reply) send(w http.ResponseWriter) {
	r.head(w)
	if r.padding > 0 {
		r.pour(w)
		return
	}
	_, _ = w.Write([]byte(r.body))
}

// pour sends a padded body bit by bit, after its head. Made as a whole first, it
// kept a busy machine's clients waiting for the head until they gave up.
func (r reply) pour(w http.ResponseWriter) {
	const tail = len(`"}`)
	bit := bytes.Repeat([]byte("x"), 16<<10)
	_ = http.NewResponseController(w).Flush() // what is not sent now is sent with the body
	if _, err := w.Write([]byte(r.body[:len(r.body)-tail])); err != nil {
		return
	}
	for left := r.padding; left > 0; left -= len(bit) {
		if _, err := w.Write(bit[:min(left, len(bit))]); err != nil {
			return
		}
	}
	_, _ = w.Write([]byte(r.body[len(r.body)-tail:]))
}

// ServeHTTP answers one request of the metadata service.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, open := s.answer(r)
	if !open {
		cut(w)
		return
	}
	defer s.handlers.Done()
	if s.trace != nil {
		s.trace(a.request)
	}
	w.Header().Set("Date", a.date)
	w.Header().Set("Server", "EC2ws")
	switch {
	case a.reply.status == 0:
		a.behaviour.silence(w, r, a.ended)
	case a.behaviour.deliver != nil:
		a.behaviour.deliver(w, r, a.reply, a.ended)
	default:
		a.reply.send(w)
	}
}

// answer is what one request gets and how.
type answer struct {
	request   Request
	reply     reply
	date      string
	behaviour behaviour       // of the present fault
	ended     <-chan struct{} // closed when the present fault ends
}

// answer decides about a request in one step, so that a fault or a notice that
// changes meanwhile leaves each answer whole. It is false once the server is
// closed.
func (s *Server) answer(r *http.Request) (answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return answer{}, false
	}
	s.handlers.Add(1)

	now := s.now()
	a := answer{
		date:      now.Add(s.offset).UTC().Format(http.TimeFormat),
		behaviour: behaviours[s.fault],
		ended:     s.ended,
	}
	a.reply = s.honest(r, !a.behaviour.needsNoToken)
	if a.behaviour.tamper != nil {
		a.reply = a.behaviour.tamper(s, r, a.reply)
	}
	a.request = Request{At: now, Method: r.Method, Path: r.URL.Path, Status: a.reply.status, Fault: s.fault}
	s.traffic.add(a.request)
	if a.reply.notice != nil && s.readAt.IsZero() {
		s.readAt = now
	}
	return a, true
}
