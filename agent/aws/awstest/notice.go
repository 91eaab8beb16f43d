package awstest

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// interruption is what the notice of that name holds.
type interruption struct {
	action string
	at     time.Time
}

// spotNotice names the notice of an interruption.
const spotNotice = "spot"

// present is the interruption that can be read now.
func present(ask metadatatest.Ask) (interruption, bool) {
	notice := ask.Notice(spotNotice)
	if notice == nil {
		return interruption{}, false
	}
	found, ok := notice.Content.(interruption)
	return found, ok
}

// document is the notice in the layout of the real service.
func (n interruption) document(ask metadatatest.Ask) string {
	return document(n.action, cloudTime(ask, n.at))
}

func document(action, at string) string {
	return fmt.Sprintf(`{"action": %q, "time": %q}`, action, at)
}

// cloudTime writes a moment of our clock as the cloud's clock shows it. The
// service knows whole seconds only.
func cloudTime(ask metadatatest.Ask, at time.Time) string { return ask.Cloud(at).Format(time.RFC3339) }

// Interrupt makes a notice readable now, in place of an earlier one: action is
// "terminate", "stop", "hibernate" or anything else that a test wants to see;
// at is the moment on this machine's clock, which the reply shifts by the clock
// offset and cuts to whole seconds.
func (s *Server) Interrupt(action string, at time.Time) {
	s.Announce(metadatatest.Notice{Name: spotNotice, Content: interruption{action, at}})
}

// InterruptAfter makes a notice readable after a delay; what it announces
// happens lead later.
func (s *Server) InterruptAfter(delay time.Duration, action string, lead time.Duration) {
	from := s.Now().Add(delay)
	s.Announce(metadatatest.Notice{Name: spotNotice, Content: interruption{action, from.Add(lead)}, From: from})
}

// TakeBack makes the notice's item answer 404 again.
func (s *Server) TakeBack() { s.Withdraw(spotNotice) }

// TakeBackAfter does what TakeBack does, after a delay. It does nothing when no
// notice was set.
func (s *Server) TakeBackAfter(delay time.Duration) { s.WithdrawAfter(spotNotice, delay) }
