package aws

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// How the SDK sends a token, and says how long the one that it asks for is to live.
const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token" //nolint:gosec // a name, no secret
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	// longestTTL is the most that a token can have, in seconds. The SDK asks for 300,
	// and goes by what the reply says. While the service throttles, what asks for a token
	// may have to wait for it for long, and what has one can go on asking.
	longestTTL = "21600"
)

// call is one question to the SDK's client. It travels in the context of the requests
// which the SDK makes of it: the GET of the item and, before that, the PUT of a token
// where it holds none, or none that is good by its clock.
type call struct {
	client *client
	with   *access
	spare  int
	// renews is whether it is to fetch a token: there is room for that, and it alone is
	// in the door.
	renews bool
	opened bool // whether it has opened the door again

	// What became of the last request, also of one that was not sent. The SDK's errors
	// lose the status on the way up, and its replies the date.
	reply metadata.Reply
	err   error
}

type callKey struct{}

// errSpent is a token that the SDK would replace, in a call that is not to.
var errSpent = errors.New("the token has ended")

// errNoToken is a PUT that went well and brought nothing that a header can carry.
var errNoToken = errors.New("no token in the reply")

// ask makes a call.
func (c *client) ask(ctx context.Context, item string, q *call) (metadata.Reply, error) {
	defer q.open(nil) // if there is no token, the next poll begins with it
	_, err := q.with.imds.GetMetadata(context.WithValue(ctx, callKey{}, q), &imds.GetMetadataInput{Path: item})
	switch {
	case q.err != nil:
		return metadata.Reply{}, q.err
	case err == nil:
		return q.reply, nil
	case ctx.Err() != nil: // before anything was sent
		err = heldBack(ctx)
	}
	return metadata.Reply{}, &metadata.ReadError{Method: http.MethodGet, Path: itemsPath + item, Err: err}
}

// open lets others ask as held does, or fetch a token if that is nil.
func (q *call) open(held *access) {
	if q.renews && !q.opened {
		q.opened = true
		q.client.held.Store(held)
		<-q.client.door
	}
}

// wire is the HTTP client under the SDK's: it sends each request when there is room for it
// in the budget, by a metadata.Client.
type wire struct{}

// Do implements imds.HTTPClient.
func (wire) Do(r *http.Request) (*http.Response, error) {
	q, ok := r.Context().Value(callKey{}).(*call)
	if !ok {
		return nil, errors.New("a request of no call")
	}
	switch {
	case r.Context().Err() != nil: // nothing can be learned any more
		q.err = &metadata.ReadError{Method: r.Method, Path: r.URL.Path, Err: heldBack(r.Context())}
		return nil, q.err
	case r.Method == http.MethodPut:
		return q.put(r)
	}
	return q.get(r)
}

// put sends a request for a token, for which there is room. It must not wait for some: the
// SDK holds a lock meanwhile that the other sources would stand before.
func (q *call) put(r *http.Request) (*http.Response, error) {
	if !q.renews {
		q.err = errSpent
		return nil, q.err
	}
	r.Header.Set(ttlHeader, longestTTL)
	response, err := q.send(r)
	if q.err == nil { // what it is if the SDK can make nothing of it
		q.err = &metadata.ReadError{Method: r.Method, Path: r.URL.Path, Status: http.StatusOK, Err: errNoToken}
	}
	return response, err
}

// get sends a request for an item, when there is room for it. Where IMDSv1 is allowed the
// SDK asks without a token whatever became of the request for one, and after some faults
// for as long as that is answered; here only tokens that are not to be had are done without.
func (q *call) get(r *http.Request) (*http.Response, error) {
	switch token, ok := word([]byte(r.Header.Get(tokenHeader))); {
	case ok:
		r.Header.Set(tokenHeader, token)
	case q.renews && tokenless(q.err):
		q.with.refused = q.err
	case q.err != nil:
		return nil, q.err
	case q.with.refused == nil:
		q.err = errSpent
		return nil, q.err
	}
	q.open(q.with)
	if err := q.client.budget.take(r.Context(), q.spare); err != nil {
		q.err = &metadata.ReadError{Method: r.Method, Path: r.URL.Path, Err: err}
		return nil, q.err
	}
	return q.send(r)
}

// send sends a request, and gives the SDK what it would have had from an http.Client.
func (q *call) send(r *http.Request) (*http.Response, error) {
	q.reply, q.err = q.client.service.Do(r.Context(), metadata.Request{Method: r.Method, Path: r.URL.Path, Header: r.Header})
	q.client.budget.heed(q.err)
	response := &http.Response{
		StatusCode: http.StatusOK, Header: q.reply.Header, Body: io.NopCloser(bytes.NewReader(q.reply.Body)), Request: r,
	}
	if q.err != nil {
		read, ok := errors.AsType[*metadata.ReadError](q.err)
		if !ok || read.Status == 0 || read.Err != nil {
			return nil, q.err
		}
		response.StatusCode = read.Status
	}
	return response, nil
}

// tokenless says whether a request for a token went as it does where there are none, or
// where a hop limit keeps them from us.
func tokenless(err error) bool {
	read, ok := errors.AsType[*metadata.ReadError](err)
	if !ok {
		return false
	}
	switch read.Status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	case 0:
		late, ok := errors.AsType[net.Error](read)
		return ok && late.Timeout()
	}
	return false
}
