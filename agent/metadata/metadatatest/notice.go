package metadatatest

import (
	"slices"
	"time"
)

// Notice is one thing that the service has to tell, and the time in which it can
// be read. Both ends are looked at when a request comes, so a scripted notice
// needs no timer.
type Notice struct {
	// Name tells it from the others: a later one of the same name replaces it.
	Name string
	// Content is the fake's own.
	Content any
	// From is when it appears on this machine's clock; zero means now.
	From time.Time
	// Until is when it vanishes; zero means never.
	Until time.Time

	readAt time.Time
}

// present says whether the notice can be read at now, faults apart.
func (n *Notice) present(now time.Time) bool {
	return !now.Before(n.From) && (n.Until.IsZero() || now.Before(n.Until))
}

// Announce makes a notice readable, in place of an earlier one of its name.
func (s *Server) Announce(n Notice) {
	s.Update(func() {
		if n.From.IsZero() {
			n.From = s.now()
		}
		n.readAt = time.Time{}
		s.withdraw(n.Name)
		s.notices = append(s.notices, &n)
		s.latest = &n
	})
}

// Withdraw makes the notice of that name vanish as if it had never been.
func (s *Server) Withdraw(name string) {
	s.Update(func() { s.withdraw(name) })
}

// withdraw forgets a notice. s.mu is held.
func (s *Server) withdraw(name string) {
	s.notices = slices.DeleteFunc(s.notices, func(n *Notice) bool { return n.Name == name })
	if s.latest != nil && s.latest.Name == name {
		s.latest = nil
	}
}

// WithdrawAfter makes the notice of that name vanish after a delay. It does
// nothing when there is none.
func (s *Server) WithdrawAfter(name string, delay time.Duration) {
	s.Update(func() {
		for _, n := range s.notices {
			if n.Name == name {
				n.Until = s.now().Add(delay)
			}
		}
	})
}

// NoticeReadableAt is the moment from which a client could have read the notice
// that was announced last: when it appeared, or when the fault that hid it ended
// if that was later. It is zero while the notice cannot be read.
func (s *Server) NoticeReadableAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.latest
	if n == nil || !n.present(s.now()) || (s.fault.Fault != "" && s.fault.Effect != Shows) {
		return time.Time{}
	}
	if s.clearedAt.After(n.From) {
		return s.clearedAt
	}
	return n.From
}

// NoticeReadAt is the moment at which a client first read the notice that was
// announced last; zero if none has.
func (s *Server) NoticeReadAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest == nil {
		return time.Time{}
	}
	return s.latest.readAt
}

// told notes that a client has been told of the notices of those names. s.mu is
// held.
func (s *Server) told(names []string, now time.Time) {
	for _, n := range s.notices {
		if slices.Contains(names, n.Name) && n.readAt.IsZero() {
			n.readAt = now
		}
	}
}

// nextChange is how long after now the next notice appears or vanishes; limit if
// none does before. s.mu is held.
func (s *Server) nextChange(now time.Time, limit time.Duration) time.Duration {
	for _, n := range s.notices {
		for _, moment := range []time.Time{n.From, n.Until} {
			if left := moment.Sub(now); !moment.IsZero() && left > 0 {
				limit = min(limit, left)
			}
		}
	}
	return limit
}
