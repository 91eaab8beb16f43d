package awstest

import (
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// Event is maintenance that is scheduled for the instance or its host.
type Event struct {
	// ID names it, such as "instance-event-0d59937288b749b32". An event takes the place of
	// an earlier one of its id.
	ID string
	// Code is "instance-stop", "instance-retirement", "instance-reboot", "system-reboot",
	// "system-maintenance", or anything else that a test wants to see.
	Code string
	// NotBefore and NotAfter are the moments between which it happens, on this machine's
	// clock; the reply shifts them by the clock offset and cuts them to whole seconds. The
	// list leaves out one that is zero.
	NotBefore, NotAfter time.Time
	// State is "active", which empty means, "canceled" or "completed".
	State string
}

// Schedule puts an event on the list, after a delay or now.
func (s *Server) Schedule(after time.Duration, e Event) {
	s.Announce(metadatatest.Notice{Name: eventNotice + e.ID, Content: e, From: s.Now().Add(after)})
}

// Unschedule takes an event off the list.
func (s *Server) Unschedule(id string) { s.Withdraw(eventNotice + id) }

// document is an event as the service writes it, with the prefix that its description has
// once it is over.
func (e Event) document(ask metadatatest.Ask) string {
	state, description := e.State, "The instance is scheduled for "+e.Code
	switch state {
	case "":
		state = "active"
	case "canceled":
		description = "[Canceled] " + description
	case "completed":
		description = "[Completed] " + description
	}
	var fields []field
	if !e.NotBefore.IsZero() {
		fields = moment(ask, "NotBefore", e.NotBefore, eventLayout)
	}
	fields = append(fields, field{"Code", e.Code}, field{"Description", description}, field{"EventId", e.ID})
	if !e.NotAfter.IsZero() {
		fields = append(fields, field{"NotAfter", cloudTime(ask, e.NotAfter, eventLayout)})
	}
	return object(append(fields, field{"State", state})...)
}

// schedule is the list of the events that can be read now, and the notices that tell of
// them.
func schedule(ask metadatatest.Ask) (list string, tells []string) {
	var events []string
	for _, notice := range ask.Notices() {
		if e, ok := notice.Content.(Event); ok {
			events = append(events, e.document(ask))
			tells = append(tells, notice.Name)
		}
	}
	return "[" + strings.Join(events, ", ") + "]", tells
}
