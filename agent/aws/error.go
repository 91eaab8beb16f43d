package aws

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// ReadError says why the metadata service could not be read. Its text is one
// line.
type ReadError struct {
	// Method and Path are of the request that went wrong.
	Method, Path string
	// Status is what was answered; 0 if nothing was.
	Status int
	// Hint is the likely cause, and what helps, if it is a known one.
	Hint string
	// Err is what went wrong besides Status; nil if the status says it all.
	Err error
}

// Error names the item or the token, the status or the fault, and the hint.
func (e *ReadError) Error() string {
	var b strings.Builder
	if e.Method == http.MethodPut {
		fmt.Fprintf(&b, "fetching metadata token %q", e.Path)
	} else {
		fmt.Fprintf(&b, "reading metadata item %q", e.Path)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Err != nil {
		b.WriteString(": ")
		// An error of the network stack may quote what a server sent.
		b.WriteString(strings.Join(strings.Fields(e.Err.Error()), " "))
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

// Unwrap is Err.
func (e *ReadError) Unwrap() error { return e.Err }

// newReadError describes an exchange that went wrong.
func newReadError(x *exchange) *ReadError {
	return &ReadError{
		Method: x.method,
		Path:   x.path,
		Status: x.status,
		Hint:   hint(x.method, x.status, x.err),
		Err:    x.err,
	}
}

// hint names the cause that users meet most often, by the EC2 user guide,
// "Access instance metadata for an EC2 instance", and the reports of those who
// run agents in pods.
func hint(method string, status int, err error) string {
	put := method == http.MethodPut
	network, ok := errors.AsType[net.Error](err)
	timeout := ok && network.Timeout()
	operation, ok := errors.AsType[*net.OpError](err)
	unreached := ok && operation.Op == "dial"
	switch {
	case status >= 300 && status < 400:
		return "something redirects requests: is a proxy in the way?"
	case status == http.StatusForbidden:
		return "the metadata service is switched off for this instance or for this pod, or a proxy is in the way"
	case put && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed):
		return "only IMDSv1 is offered here; allow it if that is meant"
	case status == http.StatusUnauthorized:
		return "the token was not accepted"
	case status == http.StatusNotFound:
		return "what answers is not the EC2 metadata service, or hides items from pods"
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return "the metadata service throttles this instance: does something else ask it too often?"
	case unreached:
		return "nothing listens there, or a firewall keeps pods from it"
	case put && timeout:
		return "with a hop limit of 1 the token never reaches a pod: use hostNetwork or a hop limit of 2"
	}
	return ""
}

// answered says whether err is an answer of that status about an item, and one
// that came whole.
func answered(err error, status int) bool {
	read, ok := errors.AsType[*ReadError](err)
	return ok && read.Method == http.MethodGet && read.Status == status && read.Err == nil
}
