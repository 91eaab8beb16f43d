package metadata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options says how a metadata service is reached.
type Options struct {
	// Endpoint is a URL that CheckEndpoint accepts; empty means Default, which is
	// where the cloud documents its service.
	Endpoint, Default string
	// Step bounds dialling, and the reading of a reply's body; it must be more
	// than 0.
	Step time.Duration
	// Wait bounds the wait for the head of a reply. 0 means Step; a long poll
	// needs more than the service may take to answer.
	Wait time.Duration
	// Header is sent with each request, such as the one by which a cloud tells a
	// question that is meant from one that a careless proxy passed on.
	Header http.Header
	// Hints explain failures, before the rows that hold on every cloud.
	Hints []Hint
}

// Client asks a metadata service. Each call makes one attempt: the next poll is
// the retry. It is safe for use by several goroutines.
type Client struct {
	base      url.URL
	header    http.Header
	hints     []Hint
	step      time.Duration
	transport *Transport
}

// NewClient sends nothing yet. The error says which option cannot be used.
func NewClient(o Options) (*Client, error) {
	if o.Endpoint == "" {
		o.Endpoint = o.Default
	}
	if err := CheckEndpoint(o.Endpoint, o.Default); err != nil {
		return nil, err
	}
	if o.Step <= 0 || o.Wait < 0 {
		return nil, fmt.Errorf("a step of %s and a wait of %s do not bound a request", o.Step, o.Wait)
	}
	base, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, err // CheckEndpoint has parsed it
	}
	if o.Wait == 0 {
		o.Wait = o.Step
	}
	return &Client{
		base: url.URL{Scheme: base.Scheme, Host: base.Host}, header: o.Header.Clone(), hints: o.Hints, step: o.Step,
		transport: NewTransport(o.Step, o.Wait),
	}, nil
}

// Request is one question.
type Request struct {
	// Method is GET where it is empty.
	Method string
	// Path begins with a slash; Query is what follows a question mark, encoded.
	Path, Query string
	// Header is sent besides the Client's own, and wins over it.
	Header http.Header
	// Body is sent as JSON; empty sends none.
	Body string
}

// Reply is an answer with status 200, read to its end.
type Reply struct {
	// Path is what was asked for, without the query.
	Path string
	Body []byte
	// Date is the cloud's clock; zero if it was not told.
	Date   time.Time
	Header http.Header
}

// Get asks for what is at path.
func (c *Client) Get(ctx context.Context, path string) (Reply, error) {
	return c.Do(ctx, Request{Path: path})
}

// Do sends one request within ctx. Every answer but 200 is an error, and each
// error is a *ReadError; [Answered] tells a status that means something.
func (c *Client) Do(ctx context.Context, ask Request) (Reply, error) {
	ctx, trace := WithTrace(ctx)
	reply, err := c.do(ctx, ask)
	if err == nil {
		reply.Date = trace.Exchanges[0].Date
		return reply, nil
	}
	if len(trace.Exchanges) == 0 {
		return Reply{}, &ReadError{Method: ask.method(), Path: ask.Path, Err: err}
	}
	return Reply{}, Explain(*trace.Exchanges[0], c.hints)
}

func (ask Request) method() string {
	if ask.Method == "" {
		return http.MethodGet
	}
	return ask.Method
}

// errRefused stands for a status that Do does not take; the trace has it.
var errRefused = errors.New("refused")

// errSlow is the body of a reply that takes longer than a step.
var errSlow = fmt.Errorf("the reply goes on for too long: %w", context.DeadlineExceeded)

func (c *Client) do(ctx context.Context, ask Request) (Reply, error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	target := c.base
	target.Path, target.RawQuery = ask.Path, ask.Query
	var content io.Reader = http.NoBody
	if ask.Body != "" {
		content = strings.NewReader(ask.Body)
	}
	request, err := http.NewRequestWithContext(ctx, ask.method(), target.String(), content)
	if err != nil {
		return Reply{}, err
	}
	if ask.Body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, header := range []http.Header{c.header, ask.Header} {
		for key, values := range header {
			request.Header[http.CanonicalHeaderKey(key)] = values
		}
	}
	// Without an http.Client around it: no redirects, no cookies, plain errors.
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return Reply{}, err
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end, or given up
	// Where the head may take a minute, the few bytes after it must not.
	defer time.AfterFunc(c.step, func() { giveUp(errSlow) }).Stop()
	// The page of a refusal is read as well: what comes in half is no answer, and
	// a connection is kept only when nothing is left on it.
	read, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return Reply{}, err
	case response.StatusCode != http.StatusOK:
		return Reply{}, errRefused
	}
	return Reply{Path: ask.Path, Body: read, Header: response.Header}, nil
}

// Close gives up the connection that is kept. The Client may be used again.
func (c *Client) Close() { c.transport.Close() }

// Unreadable says that a reply is not what it should be: what names that, such
// as "an interruption notice", and err says what is wrong with it.
func (r Reply) Unreadable(what string, err error) *ReadError {
	return &ReadError{
		Method: http.MethodGet, Path: r.Path, Status: http.StatusOK,
		Err:  fmt.Errorf("parsing %q: %w", Excerpt(r.Body), err),
		Hint: "this is not " + what + ": is a proxy in the way?",
	}
}

// Excerpt is enough of a reply to recognise who wrote it.
func Excerpt(body []byte) string { return Cut(body, 80) }

// Cut keeps at most limit bytes of a reply, as valid UTF-8.
func Cut(body []byte, limit int) string {
	return strings.ToValidUTF8(string(body[:min(len(body), limit)]), "?")
}
