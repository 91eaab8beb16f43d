package aws

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// spotNotice is how long before a spot instance is stopped or terminated the
// notice comes, by the EC2 user guide, "Spot Instance interruption notices":
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
const spotNotice = 2 * time.Minute

var errNoNotice = errors.New("neither an action nor a time")

// readSpot reads the item spot/instance-action:
//
//	{"action": "terminate", "time": "2017-09-18T08:22:00Z"}
//
// A JSON object with one of the two fields is a notice, whatever the fields
// hold: AWS has written this item, and an unreadable time is no reason to stay.
// Anything else is an error, though the status was 200. What is not JSON, or is
// about something else, comes from something that is not the metadata service
// (a captive proxy answers every path with its page), and a node must not be
// emptied on its word. What is cut off may be a notice, but the service writes
// these 60 bytes at once, so the next poll, a second later, has it whole; until
// then the error makes the agent say that it cannot see.
func readSpot(r metadata.Reply) ([]agent.Sighting, error) {
	var document map[string]json.RawMessage
	if err := json.Unmarshal(r.Body, &document); err != nil {
		return nil, err
	}
	action, hasAction := document["action"]
	at, hasTime := document["time"]
	if !hasAction && !hasTime {
		return nil, errNoNotice
	}
	s := agent.Sighting{
		Kind:       agent.SpotInterruption,
		Action:     agent.Action(plain(action)),
		State:      agent.Scheduled,
		At:         moment(time.RFC3339, plain(at)),
		ServerTime: r.Date,
		Nominal:    spotNotice,
		Raw:        metadata.Cut(r.Body, agent.MaxRaw),
	}
	if s.Action == agent.Hibernate {
		// The same page: there are no two minutes, hibernation begins with the
		// notice, whatever time it names.
		s.State, s.At, s.Nominal = agent.Started, r.Date, 0
	}
	return []agent.Sighting{s}, nil
}
