package gcp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// The keys that are read.
const (
	root             = "/computeMetadata/v1/instance/"
	keyID            = root + "id"
	keyPreempted     = root + "preempted"
	keyMaintenance   = root + "maintenance-event"
	keyUpcoming      = root + "upcoming-maintenance"
	folderScheduling = root + "scheduling/"
)

// flavor is the header that both sides send: a client that means to ask the
// metadata server, and the server itself.
const (
	flavor   = "Metadata-Flavor"
	ofGoogle = "Google"
)

const (
	// step bounds a request that the server answers at once.
	step = time.Second
	// holdSeconds is how long the server is asked to hold a long poll. What hangs
	// is noticed soon after, and there is time for a try or two before blindAfter.
	holdSeconds = 5
	// blindAfter is a third of the notice. It takes more than one flaky poll.
	blindAfter = 10 * time.Second
)

// Options says how the metadata server is reached.
type Options struct {
	// Endpoint is a URL that CheckEndpoint accepts; empty means DefaultEndpoint.
	// The variable GCE_METADATA_HOST is not read.
	Endpoint string
}

// client reads keys of the metadata server. Its errors are *metadata.ReadError.
type client struct {
	http *metadata.Client
	// known is what a 404 of a key that need not be there takes to be believed.
	known metadata.Trust
}

func newClient(o Options) (*client, error) {
	c, err := metadata.NewClient(metadata.Options{
		Endpoint: o.Endpoint, Default: DefaultEndpoint,
		Step: step, Wait: holdSeconds*time.Second + step,
		Header: http.Header{flavor: {ofGoogle}}, Hints: hints,
	})
	if err != nil {
		return nil, err
	}
	return &client{http: c}, nil
}

// errStranger is a reply that does not say from whom it is.
var errStranger = errors.New("the reply is not marked Metadata-Flavor: Google")

// do asks once, and wants that Google's server answers.
func (c *client) do(ctx context.Context, ask metadata.Request) (metadata.Reply, error) {
	reply, err := c.http.Do(ctx, ask)
	if err != nil {
		return reply, err
	}
	if reply.Header.Get(flavor) != ofGoogle {
		return reply, reply.Unreadable("a reply of the metadata server", errStranger)
	}
	return reply, nil
}

// look reads a key as it is now.
func (c *client) look(ctx context.Context, path, query string) (metadata.Reply, error) {
	ctx, stop := context.WithTimeout(ctx, step)
	defer stop()
	return c.do(ctx, metadata.Request{Path: path, Query: query})
}

// wait reads a key when it is no longer what etag stands for, or when the
// server has held the request for holdSeconds, which it takes for hold. What comes
// then may still be the old value.
func (c *client) wait(ctx context.Context, path, etag string, hold time.Duration) (metadata.Reply, error) {
	ctx, stop := context.WithTimeout(ctx, hold+step)
	defer stop()
	query := url.Values{
		"wait_for_change": {"true"}, "timeout_sec": {strconv.Itoa(holdSeconds)}, "last_etag": {etag},
	}
	return c.do(ctx, metadata.Request{Path: path, Query: query.Encode()})
}

// hidden makes of a 404 of a key that every instance has what there is to say
// of it: a server that knows this instance's id hides the key.
func (c *client) hidden(ctx context.Context, missing error) error {
	read, ok := errors.AsType[*metadata.ReadError](missing)
	if !ok {
		return missing
	}
	if _, err := c.look(ctx, keyID, ""); err == nil {
		read.Hint = hintHidden
	}
	return read
}

// believe decides whether a 404 of a key that need not be there means "none":
// only from a server that shows whether this instance is preempted, which every
// instance has and which GKE's server hides.
func (c *client) believe(ctx context.Context) error {
	asked := time.Now()
	if c.known.Holds(asked) {
		return nil
	}
	_, err := c.look(ctx, keyPreempted, "")
	switch {
	case metadata.Answered(err, http.StatusNotFound):
		return c.hidden(ctx, err)
	case err != nil:
		return err
	}
	c.known.Gain(asked)
	return nil
}
