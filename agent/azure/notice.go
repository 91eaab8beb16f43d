package azure

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// evictionNotice is the time before an eviction that is counted on. Azure documents
// "up to 30 seconds", and those who run spot machines there often see fewer than
// ten: https://github.com/Azure/karpenter-provider-azure/issues/1769
const evictionNotice = 10 * time.Second

// effect is what Azure does to a machine.
type effect struct {
	kind   agent.Kind
	action agent.Action
	// most is the longest notice that is documented, beyond which no moment is
	// believed; least is what is left to count on where no moment can be read.
	most, least time.Duration
}

// week is how long before a failing host is left its machines are told.
const week = 7 * 24 * time.Hour

// effects are those of the types of event, by the page on Scheduled Events. The
// notice of a Terminate is what the user of the scale set asked for.
var effects = map[string]effect{
	"preempt":   {agent.SpotInterruption, agent.Terminate, evictionNotice, evictionNotice},
	"terminate": {agent.ScaleIn, agent.Terminate, 15 * time.Minute, 5 * time.Minute},
	"reboot":    {agent.Maintenance, agent.Reboot, week, 15 * time.Minute},
	"redeploy":  {agent.Maintenance, agent.Redeploy, week, 10 * time.Minute},
	"freeze":    {agent.Maintenance, agent.Freeze, week, 15 * time.Minute},
}

// effectOf is what a type of event does. One that Azure invents later is
// maintenance under its own name.
func effectOf(eventType string) effect {
	key := strings.ToLower(eventType)
	if known, found := effects[key]; found {
		return known
	}
	return effect{agent.Maintenance, agent.Action(metadata.Cut([]byte(key), 64)), week, 10 * time.Minute}
}

// event is one entry of the list. Its moment is no time.Time, since what cannot be
// read must not make the event vanish.
type event struct {
	EventID     string `json:"EventId"`
	EventStatus string
	EventType   string
	Resources   []string
	NotBefore   string
	// DurationInSeconds is -1 where Azure does not know or does not say.
	DurationInSeconds float64

	raw []byte
}

// events is the list as it came.
type events []event

var (
	errNoList   = errors.New("no list of events in it")
	errNoTarget = errors.New("an event without the machines that it is about")
)

// parse reads the list:
//
//	{"DocumentIncarnation": 2, "Events": [{"EventId": "...", "EventStatus":
//	"Scheduled", "EventType": "Freeze", "Resources": ["vmss_0"], "NotBefore":
//	"Mon, 11 Apr 2026 22:26:58 GMT", "DurationInSeconds": 5, ...}]}
//
// A JSON document without such a list is an error, whatever its status was: what
// answers is not the service, or tells of a fault of its own.
func parse(r metadata.Reply) (events, error) {
	var document struct{ Events []json.RawMessage }
	if err := json.Unmarshal(r.Body, &document); err != nil {
		return nil, err
	}
	if document.Events == nil {
		return nil, errNoList
	}
	list := make(events, len(document.Events))
	for i, raw := range document.Events {
		list[i].DurationInSeconds = -1
		// A field of another type is left as it is, and the others are read.
		err := json.Unmarshal(raw, &list[i])
		if _, wrongType := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !wrongType {
			return nil, err
		}
		list[i].raw = raw
	}
	return list, nil
}

// sightings are the events that are about machine. Where there are none, an event
// of which that cannot be said is an error.
func (l events) sightings(date time.Time, machine string) ([]agent.Sighting, error) {
	var found []agent.Sighting
	var err error
	for _, e := range l {
		switch {
		case len(e.Resources) == 0:
			err = errNoTarget
		case e.concerns(machine) && !e.negligible():
			found = append(found, e.sighting(date))
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, err
}

// concerns says whether machine is among those of e. Names on Azure do not differ
// by case.
func (e event) concerns(machine string) bool {
	for _, name := range e.Resources {
		if strings.EqualFold(name, machine) {
			return true
		}
	}
	return false
}

// negligible says whether e is announced to stop the machine for no time at all, as
// the page has it of 0 seconds. Whether one that is short matters is not decided here.
func (e event) negligible() bool {
	return effectOf(e.EventType).action == agent.Freeze && e.DurationInSeconds == 0
}

// lasts is how long e stops the machine; 0 where Azure does not say, or it does more
// than to stop it.
func (e event) lasts() time.Duration {
	if effectOf(e.EventType).action != agent.Freeze || e.DurationInSeconds < 0 {
		return 0
	}
	return time.Duration(min(e.DurationInSeconds, week.Seconds()) * float64(time.Second))
}

// sighting is e as package agent wants it.
func (e event) sighting(date time.Time) agent.Sighting {
	effect := effectOf(e.EventType)
	s := agent.Sighting{
		ID: metadata.Cut([]byte(e.EventID), 128), Kind: effect.kind, Action: effect.action, State: agent.Scheduled,
		At: moment(e.NotBefore), AtKind: agent.Earliest, ServerTime: date, Nominal: effect.most,
		Lasts: e.lasts(), Raw: metadata.Cut(e.raw, agent.MaxRaw),
	}
	if s.At.IsZero() {
		s.AtKind, s.Nominal = "", effect.least
	}
	switch strings.ToLower(e.EventStatus) {
	case "started":
		// It happens now. The moment is blank in the list, and a past one says
		// nothing about how long it takes.
		s.State, s.At, s.AtKind, s.Nominal = agent.Started, time.Time{}, "", 0
	case "completed":
		// Not documented; said here so that what is over is never taken for what is
		// to come.
		s.State = agent.Gone
	case "canceled", "cancelled":
		s.State = agent.Cancelled
	}
	return s
}

// moment reads NotBefore: as the page has it, or as Microsoft's mock service and
// older pages do. Zero is what cannot be read.
func moment(s string) time.Time {
	for _, layout := range []string{"Mon, 2 Jan 2006 15:04:05 GMT", time.RFC1123Z, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
