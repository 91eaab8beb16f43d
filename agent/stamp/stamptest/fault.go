package stamptest

import (
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// The faults that these services have besides the common ones.
const (
	UnreadableTime metadatatest.Fault = "unreadable-time"
	PastTime       metadatatest.Fault = "past-time"
)

// own are the faults of what a moment can look like. One that is cut off is still
// like a moment, so that a client that knows the service knows what it means.
var own = []metadatatest.Definition{
	told(metadatatest.TruncatedBody, "the notice, if there is one, is cut off in the middle",
		func(_ metadatatest.Ask, stamp string) string { return stamp[:len(stamp)/2] }),
	told(UnreadableTime, "the notice, if there is one, is in a layout that is not documented",
		func(ask metadatatest.Ask, _ string) string { return ask.Cloud(ask.Now).Format(http.TimeFormat) }),
	told(PastTime, "the notice, if there is one, names a moment of the day before",
		func(_ metadatatest.Ask, stamp string) string {
			for _, layout := range []string{time.RFC3339, time.DateTime} {
				if at, err := time.Parse(layout, stamp); err == nil {
					return at.AddDate(0, 0, -1).Format(layout)
				}
			}
			return stamp
		}),
}

// told is a fault of the words of a notice, where there is one.
func told(f metadatatest.Fault, doc string, write func(ask metadatatest.Ask, stamp string) string) metadatatest.Definition {
	return metadatatest.Definition{
		Fault: f, Effect: metadatatest.Shows, Doc: doc,
		Tamper: func(ask metadatatest.Ask, honest metadatatest.Reply) metadatatest.Reply {
			if len(honest.Tells) > 0 {
				honest.Body = write(ask, honest.Body)
			}
			return honest
		},
	}
}
