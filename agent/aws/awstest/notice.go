package awstest

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// The names of the notices but for those of scheduled events, which have that of
// eventNotice and their id.
const (
	spotNotice      = "spot"
	rebalanceNotice = "rebalance"
	lifecycleNotice = "lifecycle"
	eventNotice     = "event/"
)

// The layouts of moments.
const (
	isoLayout   = time.RFC3339
	eventLayout = "2 Jan 2006 15:04:05 GMT"
)

// wording writes a moment of our clock into a notice; false where it names none.
type wording func(ask metadatatest.Ask, at time.Time, layout string) (string, bool)

// wordings are those under the faults of a notice's words.
var wordings = map[Fault]wording{
	UnreadableTime: func(metadatatest.Ask, time.Time, string) (string, bool) { return "in a little while", true },
	PastTime: func(ask metadatatest.Ask, _ time.Time, layout string) (string, bool) {
		return cloudTime(ask, ask.Now.Add(-time.Hour), layout), true
	},
	NoTime: func(metadatatest.Ask, time.Time, string) (string, bool) { return "", false },
}

// word writes a moment as the cloud's clock shows it, or as the present fault has it. The
// service knows whole seconds only.
func word(ask metadatatest.Ask, at time.Time, layout string) (string, bool) {
	if odd, found := wordings[Fault(ask.Fault)]; found {
		return odd(ask, at, layout)
	}
	return cloudTime(ask, at, layout), true
}

func cloudTime(ask metadatatest.Ask, at time.Time, layout string) string {
	return ask.Cloud(at).Format(layout)
}

// field is a part of a document. The service writes them in an order of its own.
type field struct{ name, value string }

// object writes fields as the service does.
func object(fields ...field) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = quote(f.name) + ": " + quote(f.value)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func quote(s string) string {
	quoted, _ := json.Marshal(s) //nolint:errchkjson // a string
	return string(quoted)
}

// moment is a field with a moment, none where the notice names none.
func moment(ask metadatatest.Ask, name string, at time.Time, layout string) []field {
	if text, named := word(ask, at, layout); named {
		return []field{{name, text}}
	}
	return nil
}

// interruption is what the notice of an interruption holds.
type interruption struct {
	action string
	at     time.Time
}

func (n interruption) document(ask metadatatest.Ask) string {
	return object(append([]field{{"action", n.action}}, moment(ask, "time", n.at, isoLayout)...)...)
}

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

// advice is what a rebalance recommendation holds.
type advice struct{ emitted time.Time }

func (a advice) document(ask metadatatest.Ask) string {
	if _, named := word(ask, a.emitted, isoLayout); !named {
		return `{"noticeTime": null}` // without the field it would be no advice
	}
	return object(moment(ask, "noticeTime", a.emitted, isoLayout)...)
}

// Rebalance recommends to leave the instance, after a delay or now, in place of an earlier
// recommendation. It is dated with the moment at which it appears.
func (s *Server) Rebalance(after time.Duration) {
	from := s.Now().Add(after)
	s.Announce(metadatatest.Notice{Name: rebalanceNotice, Content: advice{from}, From: from})
}

// EndRebalance makes the recommendation vanish, which the real service was not seen to do.
func (s *Server) EndRebalance() { s.Withdraw(rebalanceNotice) }

// Target lets the Auto Scaling group move the instance to that state, after a delay or now:
// "Terminated", "InService", "Warmed:Stopped" and so on.
func (s *Server) Target(after time.Duration, state string) {
	s.Announce(metadatatest.Notice{Name: lifecycleNotice, Content: state, From: s.Now().Add(after)})
}

// EndTarget makes the item vanish: the instance belongs to no group.
func (s *Server) EndTarget() { s.Withdraw(lifecycleNotice) }
