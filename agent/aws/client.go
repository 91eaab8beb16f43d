package aws

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// maxRequests is how many requests one poll may send: a token, the item, and
// either a second try or a second item. With a poll a second it keeps us at
// three requests a second while the service fails.
const maxRequests = 3

// client reads items of the metadata service. One call makes one attempt.
type client struct {
	options   imds.Options
	transport *metadata.Transport
	imds      *imds.Client
	left      int // requests that the present poll may still send
}

func newClient(endpoint string, allowV1 bool, timeout time.Duration) *client {
	// Half of the time for a step: where IMDSv1 is allowed, a token that never
	// comes leaves as much for the item. Half a second is the SDK's own measure.
	transport := metadata.NewTransport(timeout/2, timeout/2)
	c := &client{
		transport: transport,
		options: imds.Options{
			// Set, or AWS_EC2_METADATA_SERVICE_ENDPOINT would be read.
			Endpoint: endpoint,
			// Set, or AWS_EC2_METADATA_DISABLED would be read.
			ClientEnableState: imds.ClientEnabled,
			// Unless this is false, a single refused or late token turns the
			// client to IMDSv1, which needs none, for as long as that answers.
			EnableFallback: sdk.BoolTernary(allowV1),
			// The next poll is the retry: it comes within a second, as the SDK's
			// own would, and does not hold up this one.
			Retryer:    sdk.NopRetryer{},
			HTTPClient: transport.HTTPClient(),
		},
	}
	c.forget()
	return c
}

// forget drops the token, and what the SDK's client learned of the service.
func (c *client) forget() { c.imds = imds.New(c.options) }

// get reads an item below /latest/meta-data/. Its errors are *metadata.ReadError.
//
// A token can end early: with the service's restart, or because our clock was
// set back and the SDK goes by it. So a 401 is answered with a new token and one
// more try, unless the token was new or the poll has sent enough.
func (c *client) get(ctx context.Context, item string) (metadata.Reply, error) {
	r, sent, err := c.try(ctx, item)
	if renewed := sent > 1; metadata.Answered(err, http.StatusUnauthorized) && !renewed && c.left >= 2 {
		r, _, err = c.try(ctx, item)
	}
	return r, err
}

// try makes one attempt, and says how many requests it sent.
func (c *client) try(ctx context.Context, item string) (r metadata.Reply, sent int, err error) {
	ctx, trace := metadata.WithTrace(ctx)
	out, err := c.imds.GetMetadata(ctx, &imds.GetMetadataInput{Path: item})
	exchanges := trace.Exchanges
	c.left -= len(exchanges)

	if len(exchanges) == 0 {
		if ended := ctx.Err(); ended != nil {
			err = ended // without the SDK's words around it
		}
		return r, 0, &metadata.ReadError{Method: http.MethodGet, Path: "/latest/meta-data/" + item, Err: err}
	}
	last := exchanges[len(exchanges)-1]
	// Where an item was answered, the client is sound and keeps its token, even
	// if the answer was that the service is busy. Otherwise nothing it holds is
	// worth keeping: an unusable token would be sent until it expires.
	if last.Method != http.MethodGet || last.Status == 0 || last.Status == http.StatusUnauthorized {
		c.forget()
	}
	if err != nil {
		return r, len(exchanges), explain(exchanges)
	}
	defer out.Content.Close() //nolint:errcheck // the SDK has read it all and closed it; this one is in memory
	content, err := io.ReadAll(out.Content)
	if err != nil {
		return r, len(exchanges), explain(exchanges)
	}
	return metadata.Reply{Path: last.Path, Body: content, Date: last.Date}, len(exchanges), nil
}

// errNoToken is a PUT that went well and brought nothing of use.
var errNoToken = errors.New("no token with a lifetime in the reply")

// explain picks the exchange that made a call fail.
func explain(exchanges []*metadata.Exchange) *metadata.ReadError {
	cause := exchanges[len(exchanges)-1]
	if first := exchanges[0]; first != cause && cause.Status == http.StatusUnauthorized && first.Status != http.StatusOK {
		cause = first // a 401 for want of the token that was not to be had
	}
	read := metadata.Explain(*cause, hints)
	if read.Method == http.MethodPut && read.Status == http.StatusOK && read.Err == nil {
		read.Err = errNoToken
	}
	return read
}
