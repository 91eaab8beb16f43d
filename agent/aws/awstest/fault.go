package awstest

import (
	"fmt"
	"slices"
	"strings"
)

// Fault is one way in which the metadata service can fail its clients. The
// value is its name on the command line.
type Fault string

// Effect says what a careful client can know while a fault is in the way.
type Effect string

// The effects of a fault.
const (
	// Blinds means that a client cannot tell whether there is a notice, and
	// must say so.
	Blinds Effect = "blinds"
	// BlindsWithoutV1 means the same for a client that insists on IMDSv2; one
	// that may use IMDSv1 reads the notice.
	BlindsWithoutV1 Effect = "blinds-without-v1"
	// Hides means that the service seems well and says that there is no notice.
	Hides Effect = "hides"
	// Shows means that a notice can still be read, though not all of it.
	Shows Effect = "shows"
)

// The faults. Where nothing else is said, a fault is there whether or not a
// notice is.
const (
	Unauthorized      Fault = "unauthorized"
	Forbidden         Fault = "forbidden"
	NotFound          Fault = "not-found"
	NoticeNotFound    Fault = "notice-not-found"
	TooManyRequests   Fault = "too-many-requests"
	InternalError     Fault = "internal-error"
	Unavailable       Fault = "unavailable"
	TokenNotFound     Fault = "token-not-found"
	UnusableToken     Fault = "unusable-token"
	HangingToken      Fault = "hanging-token"
	HangingItem       Fault = "hanging-item"
	SlowBody          Fault = "slow-body"
	HugeBody          Fault = "huge-body"
	TruncatedJSON     Fault = "truncated-json"
	GarbageJSON       Fault = "garbage-json"
	ForeignJSON       Fault = "foreign-json"
	HTMLPage          Fault = "html-page"
	Redirect          Fault = "redirect"
	ConnectionRefused Fault = "connection-refused"
	ConnectionReset   Fault = "connection-reset"
	UnreadableTime    Fault = "unreadable-time"
	PastTime          Fault = "past-time"
	NoTime            Fault = "no-time"
	NoDateHeader      Fault = "no-date-header"
	IMDSv1Only403     Fault = "imdsv1-only-403"
	IMDSv1Only404     Fault = "imdsv1-only-404"
	IMDSv1Only405     Fault = "imdsv1-only-405"
)

// Faults lists every fault, so that a test can go through all of them.
func Faults() []Fault {
	return []Fault{
		Unauthorized, Forbidden, NotFound, NoticeNotFound, TooManyRequests, InternalError, Unavailable,
		TokenNotFound, UnusableToken, HangingToken, HangingItem, SlowBody, HugeBody,
		TruncatedJSON, GarbageJSON, ForeignJSON, HTMLPage, Redirect, ConnectionRefused, ConnectionReset,
		UnreadableTime, PastTime, NoTime, NoDateHeader,
		IMDSv1Only403, IMDSv1Only404, IMDSv1Only405,
	}
}

// ParseFault is the fault of that name. The error lists the names there are.
func ParseFault(name string) (Fault, error) {
	if f := Fault(name); slices.Contains(Faults(), f) {
		return f, nil
	}
	var names []string
	for _, f := range Faults() {
		names = append(names, string(f))
	}
	return "", fmt.Errorf("no fault is named %q, only %s", name, strings.Join(names, ", "))
}

// Doc is one line about what the fault does; empty for what is none of Faults.
func (f Fault) Doc() string { return behaviours[f].doc }

// Effect is what a careful client can know under the fault; empty for what is
// none of Faults.
func (f Fault) Effect() Effect { return behaviours[f].effect }

// Blinds says whether a client that insists on IMDSv2 must report that it
// cannot see. It may need a few polls to notice NotFound, where the service
// says of every item that it does not exist.
func (f Fault) Blinds() bool {
	return f.Effect() == Blinds || f.Effect() == BlindsWithoutV1
}
