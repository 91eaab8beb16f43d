package metadata

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// MaxReply is how many bytes of a reply, and of its head, are read. The largest
// notice that a cloud documents has a few hundred.
const MaxReply = 64 << 10

// errTooLarge is a reply that goes on beyond MaxReply.
var errTooLarge = errors.New("more than 64 KiB of reply")

// Transport carries requests to a metadata service, and tells the [Trace] of
// their context what became of them. It is safe for use by several goroutines.
type Transport struct {
	http *http.Transport
}

// NewTransport allows dialling at most step, and then wait for the head of the
// reply: a long poll waits for longer than a connection should take. The context
// of a request bounds the whole.
func NewTransport(step, wait time.Duration) *Transport {
	return &Transport{http: &http.Transport{
		// Without Proxy, HTTP_PROXY counts for nothing: a proxy would answer for
		// another machine, or hand our token to one.
		Proxy:                  nil,
		DialContext:            (&net.Dialer{Timeout: step}).DialContext,
		ResponseHeaderTimeout:  wait,
		MaxResponseHeaderBytes: MaxReply,
		DisableCompression:     true,
		// One connection, polled each second, is kept where the server lets us.
		MaxIdleConns:    1,
		IdleConnTimeout: 30 * time.Second,
	}}
}

// HTTPClient is an HTTP client on the transport that follows no redirect: no
// metadata service sends one, so the target would be someone else's.
func (t *Transport) HTTPClient() *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close gives up the connection that is kept. The Transport may be used again.
func (t *Transport) Close() { t.http.CloseIdleConnections() }

// RoundTrip implements http.RoundTripper. Reading the body fails beyond MaxReply.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	x := traced(r)
	response, err := t.http.RoundTrip(r)
	if err != nil {
		x.Err = err
		return nil, err
	}
	x.Status = response.StatusCode
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		x.Date = date
	}
	response.Body = &body{ReadCloser: response.Body, left: MaxReply, exchange: x}
	return response, nil
}

// body fails beyond MaxReply, and remembers the fault.
type body struct {
	io.ReadCloser
	left     int
	exchange *Exchange
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
		b.exchange.Err = err
	}
	return n, err
}
