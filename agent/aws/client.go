package aws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// The protocol, by the EC2 user guide, "Use the Instance Metadata Service to access
// instance metadata".
const (
	tokenPath   = "/latest/api/token"        //nolint:gosec // a path, no secret
	tokenHeader = "X-Aws-Ec2-Metadata-Token" //nolint:gosec // a name, no secret
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	// tokenTTL is the longest lifetime that a token can have, in seconds.
	tokenTTL = "21600"

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
	allowV1  bool
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

// access is how items are asked for.
type access struct {
	token string
	// refused is why there is no token, and items are asked for by IMDSv1; nil where
	// there is one.
	refused error
}

func newClient(o Options) (*client, error) {
	// Half of the time for a step: where IMDSv1 is allowed, a token that never comes
	// leaves as much for the item.
	reads, err := metadata.NewClient(metadata.Options{
		Endpoint: o.Endpoint, Default: DefaultEndpoint, Step: o.Timeout / 2, Hints: hints,
	})
	if err != nil {
		return nil, err
	}
	c := &client{
		service: reads, close: reads.Close, allowV1: o.AllowIMDSv1, instance: o.Instance,
		door: make(chan struct{}, 1), proving: make(chan struct{}, 1),
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
// A token ends after its lifetime, and early with the service's restart. So it is used
// until it is refused: a 401 is answered with a new token and one more try, unless the
// token was new or the poll ends before there is room.
func (c *client) get(ctx context.Context, spare int, item string) (metadata.Reply, error) {
	with, fresh, err := c.enter(ctx, spare, nil)
	if err != nil {
		return metadata.Reply{}, err
	}
	r, err := c.read(ctx, spare, item, with)
	if !metadata.Answered(err, http.StatusUnauthorized) {
		return r, err
	}
	if !fresh {
		refused := err
		if with, _, err = c.enter(ctx, spare, with); err == nil {
			r, err = c.read(ctx, spare, item, with)
		}
		if errors.Is(err, errHeldBack) {
			return metadata.Reply{}, refused
		}
	}
	if metadata.Answered(err, http.StatusUnauthorized) && with.refused != nil {
		c.held.CompareAndSwap(with, nil) // it wants a token after all
		err = with.refused
	}
	return r, err
}

// read asks for an item once, when there is room for it.
func (c *client) read(ctx context.Context, spare int, item string, with *access) (metadata.Reply, error) {
	ask := metadata.Request{Path: itemsPath + item}
	if with.refused == nil {
		ask.Header = http.Header{tokenHeader: {with.token}}
	}
	if err := c.budget.take(ctx, spare); err != nil {
		return metadata.Reply{}, &metadata.ReadError{Method: http.MethodGet, Path: ask.Path, Err: err}
	}
	return c.send(ctx, ask)
}

// send sends one request, for which there is room.
func (c *client) send(ctx context.Context, ask metadata.Request) (metadata.Reply, error) {
	r, err := c.service.Do(ctx, ask)
	c.budget.heed(err)
	return r, err
}

// enter is how items are to be asked for, if not as refused. A token is fetched by one
// source, for all of them; fresh says that it has only just come.
func (c *client) enter(ctx context.Context, spare int, refused *access) (held *access, fresh bool, err error) {
	for {
		if held := c.held.Load(); held != nil && held != refused {
			return held, false, nil
		}
		select {
		case c.door <- struct{}{}:
		case <-ctx.Done():
			return nil, false, &metadata.ReadError{Method: http.MethodPut, Path: tokenPath, Err: heldBack(ctx)}
		}
		held, pause, err := c.knock(ctx, spare, refused)
		<-c.door // who can wait for room keeps nobody out who cannot
		if pause == 0 {
			return held, err == nil, err
		}
		if err := wait(ctx, pause); err != nil {
			return nil, false, &metadata.ReadError{Method: http.MethodPut, Path: tokenPath, Err: err}
		}
	}
}

// knock fetches a token, unless somebody has meanwhile, or there is no room for that
// before pause is over.
func (c *client) knock(ctx context.Context, spare int, refused *access) (held *access, pause time.Duration, err error) {
	if held := c.held.Load(); held != nil && held != refused {
		return held, 0, nil
	}
	if pause := c.budget.try(spare); pause > 0 {
		return nil, pause, nil
	}
	token, err := c.fetch(ctx)
	switch {
	case err == nil:
		held = &access{token: token}
	case c.allowV1 && tokenless(err):
		held, err = &access{refused: err}, nil
	}
	c.held.Store(held) // if there is none, the next poll begins with the token
	return held, 0, err
}

// errNoToken is a PUT that went well and brought nothing that a header can carry.
var errNoToken = errors.New("no token in the reply")

// fetch asks for a token.
func (c *client) fetch(ctx context.Context) (string, error) {
	r, err := c.send(ctx, metadata.Request{
		Method: http.MethodPut, Path: tokenPath, Header: http.Header{ttlHeader: {tokenTTL}},
	})
	if err != nil {
		return "", err
	}
	token, ok := word(r.Body)
	if !ok {
		return "", &metadata.ReadError{Method: http.MethodPut, Path: r.Path, Status: http.StatusOK, Err: errNoToken}
	}
	return token, nil
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
