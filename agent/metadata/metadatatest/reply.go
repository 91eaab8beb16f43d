package metadatatest

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// Role says what a reply is about, so that the frame knows which faults touch it.
type Role string

// The roles of a reply. The zero Role is that of any other item.
const (
	// TokenRole is a request for a token, whatever is answered.
	TokenRole Role = "token"
	// NoticeRole is the item where a notice would be read, whether or not there
	// is one. A client that is sent away for want of a token has not come so far.
	NoticeRole Role = "notice"
)

// Reply is one answer of the service.
type Reply struct {
	// Status is 0 when there is to be no answer.
	Status int
	// Kind is the Content-Type.
	Kind   string
	Header map[string]string
	Body   string
	// Role says what the reply is about.
	Role Role
	// Sample is what the reply would be with a notice, for the faults that spoil
	// the content of one while there is none; nil means that this one will do.
	Sample *Reply
	// Tells are the names of the notices that the body tells a client of.
	Tells []string
	// Hold keeps the request for as long, as a long poll does, unless anything
	// changes: Answer is asked again then, and at the end. Ask.Since tells it how
	// long that has been going on.
	Hold time.Duration

	padding int // bytes of white space after Body
}

// Text is an answer in plain text.
func Text(body string) Reply { return Reply{Status: http.StatusOK, Kind: "text/plain", Body: body} }

// JSON is an answer that is a JSON document.
func JSON(body string) Reply {
	return Reply{Status: http.StatusOK, Kind: "application/json", Body: body}
}

// head writes everything but the body.
func (r Reply) head(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", r.Kind)
	h.Set("Content-Length", strconv.Itoa(len(r.Body)+r.padding))
	for key, value := range r.Header {
		h.Set(key, value)
	}
	w.WriteHeader(r.Status)
}

// send is the honest delivery. A client that went away gets nothing, which is
// no concern of ours.
func (r Reply) send(w http.ResponseWriter) {
	r.head(w)
	if r.padding > 0 {
		r.pour(w)
		return
	}
	_, _ = w.Write([]byte(r.Body))
}

// pour sends a padded body bit by bit, after its head. Made as a whole first, it
// kept a busy machine's clients waiting for the head until they gave up.
func (r Reply) pour(w http.ResponseWriter) {
	bit := bytes.Repeat([]byte(" "), 16<<10)
	_ = http.NewResponseController(w).Flush() // what is not sent now is sent with the body
	if _, err := w.Write([]byte(r.Body)); err != nil {
		return
	}
	for left := r.padding; left > 0; left -= len(bit) {
		if _, err := w.Write(bit[:min(left, len(bit))]); err != nil {
			return
		}
	}
}

// Ask is a request as a Cloud sees it.
type Ask struct {
	*http.Request
	// Now is this machine's clock, Since is when the request arrived.
	Now, Since time.Time
	// Fault is the present fault, empty when there is none.
	Fault Fault

	server *Server
}

// Notice is the notice of that name, nil if it cannot be read now.
func (a Ask) Notice(name string) *Notice {
	for _, n := range a.Notices() {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Notices are those that can be read now, in the order in which they were
// announced.
func (a Ask) Notices() []*Notice {
	var present []*Notice
	for _, n := range a.server.notices {
		if n.present(a.Now) {
			present = append(present, n)
		}
	}
	return present
}

// Cloud is a moment of this machine's clock as the cloud's clock shows it, in UTC.
func (a Ask) Cloud(at time.Time) time.Time { return at.Add(a.server.offset).UTC() }

// Refuse is the page that the service sends with that status.
func (a Ask) Refuse(status int) Reply { return a.server.cloud.Refuse(status) }

// ServeHTTP answers one request of the metadata service.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v, open := s.arrive(r)
	if !open {
		cut(w)
		return
	}
	defer s.handlers.Done()
	s.arrived(Request{At: v.since, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery})
	a := s.decide(v)
	for ; a.hold > 0; a = s.decide(v) {
		timer := time.NewTimer(a.hold)
		select {
		case <-timer.C:
		case <-a.changed:
		case <-r.Context().Done():
		}
		timer.Stop()
		if r.Context().Err() != nil {
			return
		}
	}
	s.trace(a.request)
	w.Header().Set("Date", a.date)
	switch {
	case a.reply.Status == 0:
		a.fault.keepSilent(w, r, a.ended)
	case a.fault.deliver != nil:
		a.fault.deliver(w, r, a.reply, a.ended)
	default:
		a.reply.send(w)
	}
}

// visit is a request that is being answered.
type visit struct {
	request *http.Request
	since   time.Time
	logged  *Request
}

// arrive notes a request. It is false once the server is closed.
func (s *Server) arrive(r *http.Request) (visit, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return visit{}, false
	}
	s.handlers.Add(1)
	v := visit{request: r, since: s.now()}
	v.logged = &Request{At: v.since, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery}
	s.traffic.add(v.logged)
	return v, true
}

// answer is what one request gets and how.
type answer struct {
	request Request
	reply   Reply
	date    string
	hold    time.Duration   // more than 0: ask again then, or at a change
	fault   Definition      // the present one
	ended   <-chan struct{} // closed when it ends
	changed <-chan struct{} // closed when anything changes
}

// decide answers a request in one step, so that a fault or a notice that changes
// meanwhile leaves each answer whole.
func (s *Server) decide(v visit) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	ask := Ask{Request: v.request, Now: now, Since: v.since, Fault: s.fault.Fault, server: s}
	a := answer{
		date:  now.Add(s.offset).UTC().Format(http.TimeFormat),
		fault: s.fault, ended: s.ended, changed: s.changed,
	}
	a.reply = s.cloud.Answer(ask)
	if s.fault.Tamper != nil {
		a.reply = s.fault.Tamper(ask, a.reply)
	}
	switch {
	case a.reply.Hold > 0 && s.closed:
		a.reply, a.fault = Reply{}, Definition{} // it is cut off, as what hangs is
	case a.reply.Hold > 0:
		a.hold = s.nextChange(now, a.reply.Hold)
		return a
	}
	v.logged.Status, v.logged.Fault = a.reply.Status, s.fault.Fault
	a.request = *v.logged
	s.told(a.reply.Tells, now)
	return a
}
