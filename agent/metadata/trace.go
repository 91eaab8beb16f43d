package metadata

import (
	"context"
	"net/http"
	"time"
)

// Exchange is one request and what became of it.
type Exchange struct {
	// Method and Path are of the request; a query is not part of the path.
	Method, Path string
	// Status is what was answered; 0 if nothing was.
	Status int
	// Date is the cloud's clock, by the reply's head; zero if it was not told.
	Date time.Time
	// Err is the fault of the network or of the body; nil if there was none.
	Err error
}

// Trace is what became of the requests that were sent with one context, oldest
// first. It is for clients that lose the status of a failed request on the way
// up, as SDKs do. It may be read once the requests have ended.
type Trace struct {
	Exchanges []*Exchange
}

type traceKey struct{}

// WithTrace returns a context whose requests, sent one after the other through a
// [Transport], end up in the Trace.
func WithTrace(ctx context.Context) (context.Context, *Trace) {
	trace := &Trace{}
	return context.WithValue(ctx, traceKey{}, trace), trace
}

// traced begins an exchange, in the trace of its request if there is one.
func traced(r *http.Request) *Exchange {
	x := &Exchange{Method: r.Method, Path: r.URL.Path}
	if trace, ok := r.Context().Value(traceKey{}).(*Trace); ok {
		trace.Exchanges = append(trace.Exchanges, x)
	}
	return x
}
