package azuretest

import (
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// The faults that are Azure's own. All of metadatatest.Common are there, too.
const (
	// Updating is a service that is being updated.
	Updating metadatatest.Fault = "updating"
	// UnreadableTime, PastTime, NoTime and OtherTime are what a moment can be
	// besides one that is to come in the documented layout.
	UnreadableTime metadatatest.Fault = "unreadable-time"
	PastTime       metadatatest.Fault = "past-time"
	NoTime         metadatatest.Fault = "no-time"
	OtherTime      metadatatest.Fault = "other-time"
)

// faults are those that the service can have. Here a list that is not there says
// nothing: a machine without events has an empty one.
var faults = metadatatest.Common().WithEffect(metadatatest.NoticeNotFound, metadatatest.Blinds).With(
	metadatatest.Definition{
		Fault: Updating, Effect: metadatatest.Blinds, Doc: "everything answers 410, as while the service is updated",
		Tamper: func(ask metadatatest.Ask, honest metadatatest.Reply) metadatatest.Reply {
			answer := ask.Refuse(http.StatusGone)
			answer.Role = honest.Role
			return answer
		},
	},
	timed(UnreadableTime, "events, if there are any, name a time that no one can read"),
	timed(PastTime, "events, if there are any, name a time an hour ago"),
	timed(NoTime, "events, if there are any, name no time"),
	timed(OtherTime, "events, if there are any, name their time in the layout of RFC 3339"),
)

// timed is a fault of the moments that events name; notBefore carries it out.
func timed(f metadatatest.Fault, doc string) metadatatest.Definition {
	return metadatatest.Definition{Fault: f, Effect: metadatatest.Shows, Doc: doc}
}

// notBefore writes the moment of an event that has not started.
func notBefore(ask metadatatest.Ask, e Event) string {
	switch {
	case ask.Fault == UnreadableTime:
		return "in a little while"
	case ask.Fault == PastTime:
		return ask.Cloud(ask.Now.Add(-time.Hour)).Format(http.TimeFormat)
	case ask.Fault == NoTime || e.NotBefore.IsZero():
		return ""
	case ask.Fault == OtherTime:
		return ask.Cloud(e.NotBefore).Format(time.RFC3339)
	}
	return ask.Cloud(e.NotBefore).Format(http.TimeFormat)
}
