package awstest

import (
	"fmt"
	"time"
)

// notice is an interruption and the time in which it can be read. Both are
// looked at when a request comes, so a scripted notice needs no timer.
type notice struct {
	action string
	at     time.Time
	from   time.Time
	until  time.Time // zero: for good
}

// document is the notice in the layout of the real service.
func (n *notice) document(offset time.Duration) string {
	return document(n.action, cloudTime(n.at, offset))
}

func document(action, at string) string {
	return fmt.Sprintf(`{"action": %q, "time": %q}`, action, at)
}

// cloudTime writes a moment of our clock as the cloud's clock shows it. The
// service knows whole seconds only.
func cloudTime(at time.Time, offset time.Duration) string {
	return at.Add(offset).UTC().Format(time.RFC3339)
}

// Interrupt makes a notice readable now, in place of an earlier one: action is
// "terminate", "stop", "hibernate" or anything else that a test wants to see;
// at is the moment on this machine's clock, which the reply shifts by the clock
// offset and cuts to whole seconds.
func (s *Server) Interrupt(action string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script(&notice{action: action, at: at, from: s.now()})
}

// InterruptAfter makes a notice readable after a delay; what it announces
// happens lead later.
func (s *Server) InterruptAfter(delay time.Duration, action string, lead time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.now().Add(delay)
	s.script(&notice{action: action, at: from.Add(lead), from: from})
}

// TakeBack makes the notice's item answer 404 again.
func (s *Server) TakeBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script(nil)
}

// TakeBackAfter does what TakeBack does, after a delay. It does nothing when no
// notice was set.
func (s *Server) TakeBackAfter(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notice != nil {
		s.notice.until = s.now().Add(delay)
	}
}

// script replaces the notice. s.mu is held.
func (s *Server) script(n *notice) {
	s.notice = n
	s.readAt = time.Time{}
}

// present is the notice if it can be read now, else nil. s.mu is held.
func (s *Server) present() *notice {
	n, now := s.notice, s.now()
	if n == nil || now.Before(n.from) || (!n.until.IsZero() && !now.Before(n.until)) {
		return nil
	}
	return n
}

// SetClockOffset makes the cloud's clock run ahead of this machine's by offset,
// or behind if it is negative: the Date header and every time in a reply.
func (s *Server) SetClockOffset(offset time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset = offset
}

// NoticeReadableAt is the moment from which a client could have read the
// notice: when it appeared, or when the fault that hid it ended if that was
// later. It is zero while the notice cannot be read.
func (s *Server) NoticeReadableAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.present()
	if n == nil || (s.fault != "" && s.fault.Effect() != Shows) {
		return time.Time{}
	}
	if s.clearedAt.After(n.from) {
		return s.clearedAt
	}
	return n.from
}

// NoticeReadAt is the moment at which a client first read the notice; zero if
// none has.
func (s *Server) NoticeReadAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readAt
}
