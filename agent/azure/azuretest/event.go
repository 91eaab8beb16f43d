package azuretest

import (
	"encoding/json"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// Event is something that is ahead of machines.
type Event struct {
	// ID names it. An event takes the place of an earlier one of its id.
	ID string
	// Type is "Preempt", "Terminate", "Reboot", "Redeploy", "Freeze", or anything
	// else that a test wants to see.
	Type string
	// Resources are the machines that it is about; nil means the Server's own.
	Resources []string
	// NotBefore is the moment before which it does not start, on this machine's
	// clock; the reply shifts it by the clock offset and cuts it to whole seconds.
	// Zero is a blank.
	NotBefore time.Time
	// Duration is for how long the machine stands still: less than 0 is "not
	// known".
	Duration time.Duration
}

// Schedule puts an event on the list.
func (s *Server) Schedule(e Event) { s.ScheduleAfter(0, e) }

// ScheduleAfter puts an event on the list after a delay.
func (s *Server) ScheduleAfter(delay time.Duration, e Event) {
	s.Update(func() { delete(s.begun, e.ID) })
	s.Announce(metadatatest.Notice{Name: e.ID, Content: e, From: s.Now().Add(delay)})
}

// Begin lets an event start: the list shows it as started, without a moment.
func (s *Server) Begin(id string) { s.Update(func() { s.begun[id] = true }) }

// Remove takes an event off the list, as Azure does when it is over and when it is
// cancelled.
func (s *Server) Remove(id string) { s.Withdraw(id) }

// document is an event as the service writes it.
type document struct {
	EventID           string `json:"EventId"`
	EventStatus       string
	EventType         string
	ResourceType      string
	Resources         []string
	NotBefore         string
	Description       string
	EventSource       string
	DurationInSeconds int
}

const (
	scheduled = "Scheduled"
	started   = "Started"
)

// document writes e as the cloud's clock has it.
func (s *Server) document(ask metadatatest.Ask, e Event) document {
	d := document{
		EventID: e.ID, EventStatus: scheduled, EventType: e.Type, ResourceType: "VirtualMachine",
		Resources: e.Resources, Description: "Made up for a test.", EventSource: "Platform",
		DurationInSeconds: int(e.Duration / time.Second),
	}
	if e.Resources == nil {
		d.Resources = []string{s.machine}
	}
	if e.Duration < 0 {
		d.DurationInSeconds = -1
	}
	if s.begun[e.ID] {
		d.EventStatus = started
		return d
	}
	d.NotBefore = notBefore(ask, e)
	return d
}

// list writes the list of events.
func list(incarnation int, events []document) string {
	if events == nil {
		events = []document{} // the service writes no null
	}
	body, _ := json.Marshal(struct { //nolint:errchkjson // strings and numbers
		DocumentIncarnation int
		Events              []document
	}{incarnation, events})
	return string(body)
}
