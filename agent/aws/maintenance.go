package aws

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// longestNotice is above all that is known of how far ahead an event is scheduled, so
// that it bounds none. Where the moment cannot be read, nothing follows from its length.
const longestNotice = 60 * 24 * time.Hour

// eventLayout is that of every moment in the list. The day is not padded.
const eventLayout = "2 Jan 2006 15:04:05 GMT"

// eventActions are what the codes do to a node, by the EC2 user guide, "Scheduled events
// for Amazon EC2 instances".
var eventActions = map[string]agent.Action{
	"instance-stop": agent.Stop,
	// The guide: stopped if it is backed by EBS, else terminated. The host is given up, so
	// the node does not come back by itself in either case, and the service does not say
	// which it is: it is taken for the worse.
	"instance-retirement": agent.Terminate,
	"instance-reboot":     agent.Reboot,
	"system-reboot":       agent.Reboot, // of the host, with every instance on it
	// The guide: the network is cut for a while, or the power, which reboots the machine.
	// The machine lives, and the code does not tell which it is. It is taken for the worse:
	// what runs in a reboot is lost, what runs without a network is not.
	"system-maintenance": agent.Reboot,
}

// errNull is a list that is none.
var errNull = errors.New("no list")

// readMaintenance reads the item events/maintenance/scheduled:
//
//	[{"NotBefore": "21 Jan 2019 09:00:43 GMT", "Code": "system-reboot",
//	  "Description": "scheduled reboot", "EventId": "instance-event-0d59937288b749b32",
//	  "NotAfter": "21 Jan 2019 09:17:23 GMT", "State": "active"}]
//
// by the same page. None are []; an empty body or no item at all say so, too, where the
// service is known to be sound. Each element is a notice, whatever it holds, so that one
// which cannot be read is not lost and hides no other.
func readMaintenance(r metadata.Reply) ([]agent.Sighting, error) {
	if len(bytes.TrimSpace(r.Body)) == 0 {
		return nil, errUnproven
	}
	var list []json.RawMessage
	if err := json.Unmarshal(r.Body, &list); err != nil {
		return nil, err
	}
	if list == nil {
		return nil, errNull
	}
	sightings := make([]agent.Sighting, len(list))
	for i, element := range list {
		sightings[i] = eventSighting(element, r.Date)
	}
	return sightings, nil
}

// eventSighting reads one element. NotBefore is the earliest moment: what is scheduled
// happens between it and NotAfter, which may be absent and says nothing about how much time
// there is. That the moment has passed does not end a notice; the state does.
func eventSighting(element json.RawMessage, date time.Time) agent.Sighting {
	var event map[string]json.RawMessage
	// The only mistake left in a part of valid JSON is that it is no object: then it has no
	// fields.
	_ = json.Unmarshal(element, &event)
	s := agent.Sighting{
		ID:         metadata.Cut([]byte(plain(event["EventId"])), 128),
		Kind:       agent.Maintenance,
		Action:     eventAction(plain(event["Code"])),
		State:      agent.Scheduled,
		At:         moment(eventLayout, plain(event["NotBefore"])),
		AtKind:     agent.Earliest,
		ServerTime: date,
		Nominal:    longestNotice,
		Raw:        metadata.Cut(element, agent.MaxRaw),
	}
	if s.At.IsZero() {
		s.AtKind = ""
	}
	// Any other state is taken for "active".
	switch strings.ToLower(plain(event["State"])) {
	case "canceled", "cancelled":
		s.State = agent.Cancelled
	case "completed":
		s.State = agent.Gone
	}
	return s
}

// eventAction is what a code does. One that AWS invents later is kept.
func eventAction(code string) agent.Action {
	code = strings.ToLower(code)
	if known, found := eventActions[code]; found {
		return known
	}
	return agent.Action(metadata.Cut([]byte(code), 64))
}
