package metadata

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
)

// Fault says how an exchange went wrong before there was a status.
type Fault string

// The faults that a hint can be about. They exclude each other.
const (
	// Unreached means that there was no connection.
	Unreached Fault = "unreached"
	// Unanswered means that a request went out and its answer did not come in
	// time.
	Unanswered Fault = "unanswered"
)

// Hint is a row in a table of likely causes. It fits an exchange that has the
// method, one of the statuses and the fault; an empty field fits any.
type Hint struct {
	Method   string
	Statuses []int
	Fault    Fault
	// Text names the cause that users meet most often, and what helps.
	Text string
}

// everywhere is what statuses and faults mean on every cloud.
var everywhere = []Hint{
	{
		Statuses: []int{
			http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
			http.StatusTemporaryRedirect, http.StatusPermanentRedirect,
		},
		Text: "something redirects requests: is a proxy in the way?",
	},
	{
		Statuses: []int{http.StatusTooManyRequests, http.StatusServiceUnavailable},
		Text:     "the metadata service throttles this machine: does something else ask it too often?",
	},
	{
		Fault: Unreached,
		Text:  "nothing listens there, or a firewall keeps pods from it",
	},
}

// hint is the text of the first row that fits x; empty if none does.
func hint(x Exchange, hints []Hint) string {
	for _, table := range [][]Hint{hints, everywhere} {
		for _, row := range table {
			if row.fits(x) {
				return row.Text
			}
		}
	}
	return ""
}

func (h Hint) fits(x Exchange) bool {
	return (h.Method == "" || h.Method == x.Method) &&
		(h.Statuses == nil || slices.Contains(h.Statuses, x.Status)) &&
		(h.Fault == "" || h.Fault == fault(x))
}

// fault is how x went wrong; empty if it was answered, or ended in another way.
func fault(x Exchange) Fault {
	if operation, ok := errors.AsType[*net.OpError](x.Err); ok && operation.Op == "dial" {
		return Unreached
	}
	network, ok := errors.AsType[net.Error](x.Err)
	if x.Status == 0 && (ok && network.Timeout() || errors.Is(x.Err, context.DeadlineExceeded)) {
		return Unanswered
	}
	return ""
}
