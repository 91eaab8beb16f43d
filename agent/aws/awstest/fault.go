package awstest

import (
	"net/http"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// Fault is one way in which the metadata service can fail its clients. The
// value is its name on the command line.
type Fault metadatatest.Fault

// Effect says what a careful client can know while a fault is in the way.
type Effect = metadatatest.Effect

// The effects of a fault.
const (
	// Blinds means that a client cannot tell whether there is a notice, and
	// must say so.
	Blinds = metadatatest.Blinds
	// BlindsWithoutV1 means the same for a client that insists on IMDSv2; one
	// that may use IMDSv1 reads the notice.
	BlindsWithoutV1 Effect = "blinds-without-v1"
	// Hides means that the service seems well and says that there is no notice.
	Hides = metadatatest.Hides
	// Shows means that a notice can still be read, though not all of it.
	Shows = metadatatest.Shows
)

// The faults. Where nothing else is said, a fault is there whether or not a
// notice is.
const (
	Unauthorized      = Fault(metadatatest.Unauthorized)
	Forbidden         = Fault(metadatatest.Forbidden)
	NotFound          = Fault(metadatatest.NotFound)
	NoticeNotFound    = Fault(metadatatest.NoticeNotFound)
	TooManyRequests   = Fault(metadatatest.TooManyRequests)
	InternalError     = Fault(metadatatest.InternalError)
	Unavailable       = Fault(metadatatest.Unavailable)
	TokenNotFound     = Fault(metadatatest.TokenNotFound)
	UnusableToken     = Fault(metadatatest.UnusableToken)
	HangingToken      = Fault(metadatatest.HangingToken)
	HangingItem       = Fault(metadatatest.HangingItem)
	SlowBody          = Fault(metadatatest.SlowBody)
	HugeBody          = Fault(metadatatest.HugeBody)
	TruncatedJSON     = Fault(metadatatest.TruncatedBody)
	GarbageJSON       = Fault(metadatatest.GarbageBody)
	ForeignJSON       = Fault(metadatatest.ForeignJSON)
	EmptyBody         = Fault(metadatatest.EmptyBody)
	HTMLPage          = Fault(metadatatest.HTMLPage)
	Redirect          = Fault(metadatatest.Redirect)
	ConnectionRefused = Fault(metadatatest.ConnectionRefused)
	ConnectionReset   = Fault(metadatatest.ConnectionReset)
	NoDateHeader      = Fault(metadatatest.NoDateHeader)
	UnreadableTime    = Fault("unreadable-time")
	PastTime          = Fault("past-time")
	NoTime            = Fault("no-time")
	IMDSv1Only403     = Fault("imdsv1-only-403")
	IMDSv1Only404     = Fault("imdsv1-only-404")
	IMDSv1Only405     = Fault("imdsv1-only-405")
)

// definitions are the faults that any service can have, those of one with
// tokens, and EC2's own: a way to go without tokens, and what a notice can hold
// besides a time.
var definitions = append(metadatatest.Common(), metadatatest.Tokens()...).With(
	notice(UnreadableTime, "notices, if there are any, name times that no one can read"),
	notice(PastTime, "notices, if there are any, name times an hour ago"),
	notice(NoTime, "notices, if there are any, name no times"),
	v1Only(IMDSv1Only403, http.StatusForbidden),
	v1Only(IMDSv1Only404, http.StatusNotFound),
	v1Only(IMDSv1Only405, http.StatusMethodNotAllowed),
)

// notice is a fault of the words of a notice, where there is one; wordings has them.
func notice(f Fault, doc string) metadatatest.Definition {
	return metadatatest.Definition{Fault: metadatatest.Fault(f), Effect: Shows, Doc: doc}
}

// v1Only is a service without tokens.
func v1Only(f Fault, status int) metadatatest.Definition {
	return metadatatest.Definition{
		Fault: metadatatest.Fault(f), Effect: BlindsWithoutV1,
		Doc:         "items need no token, and a PUT for one answers " + http.StatusText(status),
		VoidsTokens: true, Tamper: metadatatest.TokensAnswer(status),
	}
}

// needsToken says whether items are only read with a token under f.
func needsToken(f metadatatest.Fault) bool { return Fault(f).Effect() != BlindsWithoutV1 }

// Faults lists every fault, so that a test can go through all of them.
func Faults() []Fault {
	names := definitions.Names()
	faults := make([]Fault, len(names))
	for i, name := range names {
		faults[i] = Fault(name)
	}
	return faults
}

// Definitions are the faults as the frame of the fakes knows them.
func Definitions() metadatatest.Definitions { return definitions }

func (f Fault) definition() metadatatest.Definition {
	row, _ := definitions.Find(metadatatest.Fault(f))
	return row
}

// Doc is one line about what the fault does; empty for what is none of Faults.
func (f Fault) Doc() string { return f.definition().Doc }

// Effect is what a careful client can know under the fault; empty for what is
// none of Faults.
func (f Fault) Effect() Effect { return f.definition().Effect }

// Blinds says whether a client that insists on IMDSv2 must report that it
// cannot see. It may need a few polls to notice NotFound, where the service
// says of every item that it does not exist.
func (f Fault) Blinds() bool {
	return f.Effect() == Blinds || f.Effect() == BlindsWithoutV1
}
