package metadata

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// ReadError says why a metadata service could not be read. Its text is one
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
	switch e.Method {
	case http.MethodPut: // on every cloud that has tokens
		fmt.Fprintf(&b, "fetching metadata token %q", e.Path)
	case http.MethodPost:
		fmt.Fprintf(&b, "writing metadata item %q", e.Path)
	default:
		fmt.Fprintf(&b, "reading metadata item %q", e.Path)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": %s", strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))))
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

// Explain makes an error of an exchange that went wrong, with the hint of the
// first row that fits it: of hints, or else of those that hold on every cloud.
func Explain(x Exchange, hints []Hint) *ReadError {
	return &ReadError{Method: x.Method, Path: x.Path, Status: x.Status, Hint: hint(x, hints), Err: x.Err}
}

// Answered says whether err is an answer of that status about an item, and one
// that came whole.
func Answered(err error, status int) bool {
	read, ok := errors.AsType[*ReadError](err)
	return ok && read.Method == http.MethodGet && read.Status == status && read.Err == nil
}
