package stamp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// maxTimeout is the longest that a poll may take, which leaves room for nine more
// until a source that sees nothing counts as blind.
const maxTimeout = time.Second

// maxInterval is the longest time from one poll to the next.
const maxInterval = 5 * time.Second

// blindAfter takes more than one flaky poll, at any interval.
const blindAfter = 10 * time.Second

// Options says how a metadata service is reached.
type Options struct {
	// Endpoint is a URL that metadata.CheckEndpoint accepts; empty means where the
	// cloud documents its service.
	Endpoint string
	// Instance is the id of this instance, as InstanceID has it, which the service must
	// tell. Empty means that any id will do.
	Instance string
	// Timeout bounds one poll; 0 means one second, which is also the most.
	Timeout time.Duration
	// PollInterval is the time from one poll to the next, five seconds at most. 0
	// means a sixtieth of the notice that the cloud gives: five seconds on Alibaba
	// Cloud and two on Tencent Cloud. Neither cloud names a limit.
	PollInterval time.Duration
}

// Spot is the notice of a spot interruption, as agent.Source.
type Spot struct {
	cloud    cloud
	client   *client
	instance string // empty: not known
	pace     agent.Pace
	trust    metadata.Trust // that "not there" says "no notice"
}

var _ agent.Source = (*Spot)(nil)

// NewAlibaba is the notice of Alibaba Cloud. It sends nothing yet. The error says
// which option cannot be used.
func NewAlibaba(o Options) (*Spot, error) { return newSpot(alibaba, o) }

// NewTencent is the notice of Tencent Cloud. It sends nothing yet. The error says
// which option cannot be used.
func NewTencent(o Options) (*Spot, error) { return newSpot(tencent, o) }

func newSpot(c cloud, o Options) (*Spot, error) {
	if o.Timeout == 0 {
		o.Timeout = maxTimeout
	}
	if o.Timeout < 0 || o.Timeout > maxTimeout {
		return nil, fmt.Errorf("timeout %s is not between 0s and %s", o.Timeout, maxTimeout)
	}
	if o.PollInterval == 0 {
		o.PollInterval = c.nominal / 60
	}
	if o.PollInterval < 0 || o.PollInterval > maxInterval {
		return nil, fmt.Errorf("poll interval %s is not between 0s and %s", o.PollInterval, maxInterval)
	}
	reads, err := metadata.NewClient(metadata.Options{
		Endpoint: o.Endpoint, Default: c.endpoint,
		Step: o.Timeout / 2, Hints: c.hints,
	})
	if err != nil {
		return nil, err
	}
	return &Spot{
		cloud:    c,
		client:   &client{http: reads, tokens: c.tokens},
		instance: o.Instance,
		pace:     agent.Pace{Every: o.PollInterval, Timeout: o.Timeout, BlindAfter: blindAfter},
	}, nil
}

// Provider implements agent.Source.
func (s *Spot) Provider() string { return s.cloud.provider }

// Name implements agent.Source.
func (s *Spot) Name() string { return "spot" }

// Pace implements agent.Source.
func (s *Spot) Pace() agent.Pace { return s.pace }

// Poll asks once whether this instance is to be terminated. It ends within
// Options.Timeout, and sends one request as a rule, and four at most. The error is
// a *metadata.ReadError.
func (s *Spot) Poll(ctx context.Context) ([]agent.Sighting, error) {
	ctx, stop := context.WithTimeout(ctx, s.pace.Timeout)
	defer stop()

	sightings, err := s.poll(ctx)
	if err != nil {
		s.trust.Lose()
	}
	return sightings, err
}

func (s *Spot) poll(ctx context.Context) ([]agent.Sighting, error) {
	r, err := s.client.get(ctx, itemNotice)
	if metadata.Answered(err, http.StatusNotFound) {
		return nil, s.believe(ctx, "")
	}
	if err != nil {
		return nil, err
	}
	text := bytes.TrimSpace(r.Body)
	if len(text) == 0 && s.cloud.emptyIsNone {
		return nil, s.believe(ctx, "")
	}
	sighting, err := s.cloud.sighting(r)
	if err != nil {
		return nil, r.Unreadable("a moment of termination", err)
	}
	if sighting.At.IsZero() {
		if err := s.believe(ctx, string(text)); err != nil {
			return nil, err
		}
	}
	return []agent.Sighting{sighting}, nil
}

// errNoInstance is what some other server says at the path of the instance's id.
var errNoInstance = errors.New("not an id of its own")

// believe decides whether what the item said counts, which by itself anything at
// the address could have said: only if the service knows the instance's id, which
// each instance has, and which is this one's where that is known. Who says the same
// of both items knows neither.
func (s *Spot) believe(ctx context.Context, said string) error {
	asked := time.Now()
	if s.trust.Holds(asked) {
		return nil
	}
	r, err := s.client.try(ctx, itemInstance)
	if err != nil {
		// No cloud says what becomes of a request whose token has ended. If that
		// looks like this, the next poll has a new one.
		s.client.forget()
		return err
	}
	id, ok := word(r.Body)
	if !ok || id == said {
		return r.Unreadable("the id of an instance", errNoInstance)
	}
	if s.instance != "" && s.instance != id {
		return r.Unreadable("the id of this instance", fmt.Errorf("want %q", s.instance))
	}
	s.trust.Gain(asked)
	return nil
}

// Close gives up the connection. The Spot may be used again.
func (s *Spot) Close() { s.client.http.Close() }
