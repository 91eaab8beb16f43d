package gcptest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// The faults of this cloud alone.
const (
	// HiddenKeys is what a pod without hostNetwork meets on GKE.
	HiddenKeys metadatatest.Fault = "hidden-keys"
	// NoMaintenance is an instance that has no host maintenance to be told of.
	NoMaintenance metadatatest.Fault = "no-maintenance"
	// NothingReceived is how machines that had no maintenance yet were seen to say
	// so.
	NothingReceived metadatatest.Fault = "nothing-received"
	// OtherFlavor is someone else who has the values.
	OtherFlavor metadatatest.Fault = "other-flavor"
	// IgnoredWait is a server that never holds a request, as emulators do.
	IgnoredWait metadatatest.Fault = "ignored-wait"
	// NoETag leaves a client nothing to wait by.
	NoETag metadatatest.Fault = "no-etag"
)

// faults are those that any service can have, and this cloud's own. That all
// keys of notices answer 404 blinds every client: each instance has the one that
// tells of its preemption.
var faults = metadatatest.Common().WithEffect(metadatatest.NoticeNotFound, metadatatest.Blinds).With(
	metadatatest.Definition{
		Fault: HiddenKeys, Effect: metadatatest.Blinds,
		Doc: "few keys are shown, and no notice, as GKE's metadata server does",
		Tamper: func(ask metadatatest.Ask, honest metadatatest.Reply) metadatatest.Reply {
			key := strings.TrimPrefix(ask.URL.Path, Root)
			if slices.Contains([]string{"id", "hostname", "zone"}, key) {
				return honest
			}
			return ask.Refuse(http.StatusNotFound)
		},
	},
	missing(NoMaintenance, http.StatusNotFound, "the keys that tell of maintenance answer 404; a preemption shows", MaintenancePath, UpcomingPath),
	missing(NothingReceived, http.StatusServiceUnavailable, "the key of planned maintenance answers 503; all else shows", UpcomingPath),
	metadatatest.Definition{
		Fault: OtherFlavor, Effect: metadatatest.Blinds, Doc: "no reply is marked as Google's",
		Tamper: without(flavor),
	},
	metadatatest.Definition{
		Fault: IgnoredWait, Effect: metadatatest.Shows, Doc: "a request that waits for a change is answered at once",
	},
	metadatatest.Definition{
		Fault: NoETag, Effect: metadatatest.Shows, Doc: "replies carry no ETag",
		Tamper: without("ETag"),
	},
)

// Faults are those that the server can have.
func Faults() metadatatest.Definitions { return faults }

// without takes a header off every reply.
func without(header string) func(metadatatest.Ask, metadatatest.Reply) metadatatest.Reply {
	return func(_ metadatatest.Ask, honest metadatatest.Reply) metadatatest.Reply {
		delete(honest.Header, header)
		if header == flavor {
			honest.Tells = nil // no careful client believes it
		}
		return honest
	}
}

// missing is a fault of the keys at those paths, which says that they have
// nothing to tell.
func missing(f metadatatest.Fault, status int, doc string, paths ...string) metadatatest.Definition {
	return metadatatest.Definition{
		Fault: f, Effect: metadatatest.Hides, Doc: doc,
		Tamper: func(ask metadatatest.Ask, honest metadatatest.Reply) metadatatest.Reply {
			if slices.Contains(paths, ask.URL.Path) {
				return ask.Refuse(status)
			}
			return honest
		},
	}
}
