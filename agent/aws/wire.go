package aws

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// maxReply is how much of a reply is read. A notice has some 60 bytes.
const maxReply = 64 << 10

var errTooLarge = errors.New("more than 64 KiB of reply")

// exchange is one request and what became of it.
type exchange struct {
	method, path string
	status       int       // 0: no answer
	date         time.Time // the reply's Date; zero if it had none
	err          error     // of the network or of the body
}

// wire carries the SDK's requests and keeps what became of them, because the
// SDK's errors lose the status of a failed token and of a 401 on the way up.
// It serves one request at a time.
type wire struct {
	transport *http.Transport
	exchanges []*exchange
}

// newWire allows each step of a request (dialling, waiting for the reply's
// head) that much time; the context bounds the whole.
func newWire(step time.Duration) *wire {
	return &wire{transport: &http.Transport{
		// Without Proxy, HTTP_PROXY counts for nothing: a proxy would answer for
		// another machine, or hand our token to one.
		Proxy:                  nil,
		DialContext:            (&net.Dialer{Timeout: step}).DialContext,
		ResponseHeaderTimeout:  step,
		MaxResponseHeaderBytes: maxReply,
		DisableCompression:     true,
		// One connection, polled each second, is kept where the server lets us.
		MaxIdleConns:    1,
		IdleConnTimeout: 30 * time.Second,
	}}
}

// client is an HTTP client on the wire that follows no redirect: IMDS sends
// none, so the target would be someone else's.
func (w *wire) client() *http.Client {
	return &http.Client{
		Transport:     w,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	x := &exchange{method: r.Method, path: r.URL.Path}
	w.exchanges = append(w.exchanges, x)
	response, err := w.transport.RoundTrip(r)
	if err != nil {
		x.err = err
		return nil, err
	}
	x.status = response.StatusCode
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		x.date = date
	}
	response.Body = &body{ReadCloser: response.Body, left: maxReply, exchange: x}
	return response, nil
}

// body fails beyond maxReply, and remembers the fault.
type body struct {
	io.ReadCloser
	left     int
	exchange *exchange
}

func (b *body) Read(p []byte) (int, error) {
	// One byte more than allowed is asked for, to tell a reply that ends there
	// from one that goes on.
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	b.left -= n
	if b.left < 0 {
		err = errTooLarge
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.exchange.err = err
	}
	return n, err
}
