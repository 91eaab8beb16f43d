package aws

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// maxRequests is how many requests one poll may send: a token, the item, and
// either a second try or a second item. With a poll a second it keeps us at
// three requests a second while the service fails.
const maxRequests = 3

// reply is an item that was read.
type reply struct {
	path string
	body []byte
	date time.Time // the cloud's clock; zero if it was not told
}

// client reads items of the metadata service. One call makes one attempt.
type client struct {
	options imds.Options
	wire    *wire
	imds    *imds.Client
	left    int // requests that the present poll may still send
}

func newClient(endpoint string, allowV1 bool, timeout time.Duration) *client {
	// Half of the time for a step: where IMDSv1 is allowed, a token that never
	// comes leaves as much for the item. Half a second is the SDK's own measure.
	w := newWire(timeout / 2)
	c := &client{
		wire: w,
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
			HTTPClient: w.client(),
		},
	}
	c.forget()
	return c
}

// forget drops the token, and what the SDK's client learned of the service.
func (c *client) forget() { c.imds = imds.New(c.options) }

// get reads an item below /latest/meta-data/. Its errors are *ReadError.
//
// A token can end early: with the service's restart, or because our clock was
// set back and the SDK goes by it. So a 401 is answered with a new token and one
// more try, unless the token was new or the poll has sent enough.
func (c *client) get(ctx context.Context, item string) (reply, error) {
	r, err := c.try(ctx, item)
	renewed := len(c.wire.exchanges) > 1
	if answered(err, http.StatusUnauthorized) && !renewed && c.left >= 2 {
		return c.try(ctx, item)
	}
	return r, err
}

func (c *client) try(ctx context.Context, item string) (reply, error) {
	c.wire.exchanges = nil
	out, err := c.imds.GetMetadata(ctx, &imds.GetMetadataInput{Path: item})
	exchanges := c.wire.exchanges
	c.left -= len(exchanges)

	if len(exchanges) == 0 {
		if ended := ctx.Err(); ended != nil {
			err = ended // without the SDK's words around it
		}
		return reply{}, &ReadError{Method: http.MethodGet, Path: "/latest/meta-data/" + item, Err: err}
	}
	last := exchanges[len(exchanges)-1]
	// Where an item was answered, the client is sound and keeps its token, even
	// if the answer was that the service is busy. Otherwise nothing it holds is
	// worth keeping: an unusable token would be sent until it expires.
	if last.method != http.MethodGet || last.status == 0 || last.status == http.StatusUnauthorized {
		c.forget()
	}
	if err != nil {
		return reply{}, explain(exchanges)
	}
	defer out.Content.Close() //nolint:errcheck // the SDK has read it all and closed it; this one is in memory
	content, err := io.ReadAll(out.Content)
	if err != nil {
		return reply{}, explain(exchanges)
	}
	return reply{path: last.path, body: content, date: last.date}, nil
}

// errNoToken is a PUT that went well and brought nothing of use.
var errNoToken = errors.New("no token with a lifetime in the reply")

// explain picks the exchange that made a call fail.
func explain(exchanges []*exchange) *ReadError {
	cause := exchanges[len(exchanges)-1]
	if first := exchanges[0]; first != cause && cause.status == http.StatusUnauthorized && first.status != http.StatusOK {
		cause = first // a 401 for want of the token that was not to be had
	}
	read := newReadError(cause)
	if read.Method == http.MethodPut && read.Status == http.StatusOK && read.Err == nil {
		read.Err = errNoToken
	}
	return read
}
