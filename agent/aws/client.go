package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// What is asked for, as errors and traces name it. The SDK knows the rest of the protocol.
const (
	tokenPath    = "/latest/api/token" //nolint:gosec // a path, no secret
	itemsPath    = "/latest/meta-data/"
	itemInstance = "instance-id"
)

// service is what a client asks; a metadata.Client.
type service interface {
	Do(ctx context.Context, ask metadata.Request) (metadata.Reply, error)
}

// client reads items of the metadata service, for several sources at a time.
type client struct {
	service  service
	close    func()
	options  imds.Options
	instance string // what its id must be; empty: not known
	now      func() time.Time
	budget   *budget

	held    atomic.Pointer[access] // nil: nothing is known yet
	door    chan struct{}          // full while someone fetches a token
	proving chan struct{}          // full while someone proves the service who can wait

	mu    sync.Mutex
	trust metadata.Trust // that "not there" says "no notice"
	lost  time.Time      // when the trust ended last
}

// access is how items are asked for: a client of the SDK that holds a token.
type access struct {
	imds *imds.Client
	// refused is why it holds none, and items are asked for by IMDSv1; nil where it does.
	refused error
}

func newClient(o Options) (*client, error) {
	if o.Endpoint == "" {
		o.Endpoint = DefaultEndpoint
	}
	// Half of the time for a step: where IMDSv1 is allowed, a token that never comes
	// leaves as much for the item. Half a second is the SDK's own measure.
	reads, err := metadata.NewClient(metadata.Options{
		Endpoint: o.Endpoint, Default: DefaultEndpoint, Step: o.Timeout / 2, Hints: hints,
	})
	if err != nil {
		return nil, err
	}
	c := &client{
		service: reads, close: reads.Close, instance: o.Instance,
		door: make(chan struct{}, 1), proving: make(chan struct{}, 1),
	}
	c.options = imds.Options{
		// Set, or AWS_EC2_METADATA_SERVICE_ENDPOINT would be read.
		Endpoint: o.Endpoint,
		// Set, or AWS_EC2_METADATA_DISABLED would be read.
		ClientEnableState: imds.ClientEnabled,
		// Set, or a token that is refused or late would be done without.
		EnableFallback: sdk.BoolTernary(o.AllowIMDSv1),
		// The next poll is the retry: it comes within a second, as the SDK's own would.
		Retryer: sdk.NopRetryer{},
		// The SDK's own would send what it has to by a proxy of the environment.
		HTTPClient: wire{},
	}
	c.setClock(time.Now)
	return c, nil
}

// setClock sets what the client goes by, before it is used.
func (c *client) setClock(now func() time.Time) {
	c.now, c.budget = now, newBudget(now)
}

// get reads an item, and leaves room for as many requests as spare. Its errors are
// *metadata.ReadError.
//
// A token ends after its lifetime, which the SDK knows, and early with the service's
// restart. So a 401 is answered with a new token and one more try, unless the token was
// new or the poll ends before there is room.
func (c *client) get(ctx context.Context, spare int, item string) (metadata.Reply, error) {
	var old *access
	var denied error // a 401, after which it is tried once more
	for {
		with, renews, err := c.enter(ctx, spare, old)
		var r metadata.Reply
		if err == nil {
			r, err = c.ask(ctx, item, &call{client: c, with: with, spare: spare, renews: renews})
		}
		switch {
		case errors.Is(err, errSpent):
		case denied != nil && errors.Is(err, errHeldBack):
			return metadata.Reply{}, denied
		case !metadata.Answered(err, http.StatusUnauthorized):
			return r, err
		case !renews && denied == nil:
			denied = err
		case with.refused != nil:
			c.held.CompareAndSwap(with, nil) // it wants a token after all
			return metadata.Reply{}, with.refused
		default:
			return metadata.Reply{}, err
		}
		old = with
	}
}

// enter is how items are to be asked for, if no longer as with old. A token is fetched by
// one source, for all of them: the SDK would fetch one for each that fails, and keep them
// waiting in a lock that knows no context. Whoever renews has taken the room for that, and
// the door is shut until its call opens it.
func (c *client) enter(ctx context.Context, spare int, old *access) (with *access, renews bool, err error) {
	for {
		if held := c.held.Load(); held != nil && held != old {
			return held, false, nil
		}
		select {
		case c.door <- struct{}{}:
		case <-ctx.Done():
			return nil, false, &metadata.ReadError{Method: http.MethodPut, Path: tokenPath, Err: heldBack(ctx)}
		}
		if held := c.held.Load(); held != nil && held != old { // somebody has meanwhile
			<-c.door
			return held, false, nil
		}
		pause := c.budget.try(spare)
		if pause == 0 {
			return &access{imds: imds.New(c.options)}, true, nil
		}
		<-c.door // who can wait for room keeps nobody out who cannot
		if err := wait(ctx, pause); err != nil {
			return nil, false, &metadata.ReadError{Method: http.MethodPut, Path: tokenPath, Err: err}
		}
	}
}

// believe decides whether a 404 means "no notice": only if the service knows the
// instance's id, which each instance has, and which is this one's where that is known.
func (c *client) believe(ctx context.Context, spare int) error {
	asked := c.now()
	if c.trusts(asked) {
		return nil
	}
	if spare > 0 {
		// One proof will do for all that have time to wait for it.
		select {
		case c.proving <- struct{}{}:
			defer func() { <-c.proving }()
		case <-ctx.Done():
			return &metadata.ReadError{Method: http.MethodGet, Path: itemsPath + itemInstance, Err: heldBack(ctx)}
		}
		if c.trusts(asked) {
			return nil
		}
	}
	r, err := c.get(ctx, spare, itemInstance)
	if err != nil {
		return err
	}
	id, ok := word(r.Body)
	if !ok {
		return r.Unreadable("the id of an instance", errNoInstance)
	}
	if c.instance != "" && c.instance != id {
		return r.Unreadable("the id of this instance", fmt.Errorf("want %q", c.instance))
	}
	c.gain(asked)
	return nil
}

var errNoInstance = errors.New("not an id")

func (c *client) trusts(asked time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trust.Holds(asked)
}

// gain notes a proof that was asked for at that moment, unless another source has met a
// fault since.
func (c *client) gain(asked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !asked.Before(c.lost) {
		c.trust.Gain(asked)
	}
}

// lose ends the trust after a fault.
func (c *client) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trust.Lose()
	c.lost = c.now()
}

// longestWord is more than any id or token has.
const longestWord = 1024

// word is a reply that is one word of printable ASCII, without the white space around
// it.
func word(body []byte) (string, bool) {
	text := strings.TrimSpace(string(body))
	odd := strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
	return text, text != "" && len(text) <= longestWord && !odd
}
