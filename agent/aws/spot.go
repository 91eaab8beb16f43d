package aws

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// The items that are read, below /latest/meta-data/.
const (
	itemNotice   = "spot/instance-action"
	itemInstance = "instance-id"
)

// maxTimeout is the longest that a poll may take: with a poll a second, a
// longer one would delay the next.
const maxTimeout = time.Second

// maxInterval is the longest time from one poll to the next.
const maxInterval = 5 * time.Second

// blindAfter is a twelfth of the notice. It takes more than one flaky poll, at
// any interval.
const blindAfter = 10 * time.Second

// Options says how the metadata service is reached.
type Options struct {
	// Endpoint is a URL that CheckEndpoint accepts; empty means DefaultEndpoint.
	Endpoint string
	// AllowIMDSv1 reads items without a token where none can be had. IMDSv1
	// answers whoever can make this machine send a GET.
	AllowIMDSv1 bool
	// Timeout bounds one poll; 0 means one second, which is also the most.
	Timeout time.Duration
	// PollInterval is the time from one poll to the next; 0 means one second. Of a
	// notice of two minutes, five seconds are the most that may be slept away: EC2's
	// user guide advises no longer interval either.
	PollInterval time.Duration
}

// Spot is the notice of a spot interruption, as agent.Source.
type Spot struct {
	client *client
	pace   agent.Pace
	trust  metadata.Trust // that a 404 says "no notice"
}

var _ agent.Source = (*Spot)(nil)

// NewSpot sends nothing yet. The error says which option cannot be used.
func NewSpot(o Options) (*Spot, error) {
	if o.Endpoint == "" {
		o.Endpoint = DefaultEndpoint
	}
	if err := CheckEndpoint(o.Endpoint); err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = maxTimeout
	}
	if o.Timeout < 0 || o.Timeout > maxTimeout {
		return nil, fmt.Errorf("timeout %s is not between 0s and %s", o.Timeout, maxTimeout)
	}
	if o.PollInterval == 0 {
		o.PollInterval = time.Second
	}
	if o.PollInterval < 0 || o.PollInterval > maxInterval {
		return nil, fmt.Errorf("poll interval %s is not between 0s and %s", o.PollInterval, maxInterval)
	}
	return &Spot{
		client: newClient(o.Endpoint, o.AllowIMDSv1, o.Timeout),
		pace:   agent.Pace{Every: o.PollInterval, Timeout: o.Timeout, BlindAfter: blindAfter},
	}, nil
}

// Provider implements agent.Source.
func (s *Spot) Provider() string { return "aws" }

// Name implements agent.Source.
func (s *Spot) Name() string { return "spot" }

// Pace implements agent.Source.
func (s *Spot) Pace() agent.Pace { return s.pace }

// Poll asks once whether this instance is to be interrupted. It ends within
// Options.Timeout, and sends one request, two when the token has expired, and at
// most three. The error is a
// *metadata.ReadError.
func (s *Spot) Poll(ctx context.Context) ([]agent.Sighting, error) {
	ctx, stop := context.WithTimeout(ctx, s.pace.Timeout)
	defer stop()
	s.client.left = maxRequests

	sightings, err := s.poll(ctx)
	if err != nil {
		s.trust.Lose()
	}
	return sightings, err
}

func (s *Spot) poll(ctx context.Context) ([]agent.Sighting, error) {
	r, err := s.client.get(ctx, itemNotice)
	if metadata.Answered(err, http.StatusNotFound) {
		return nil, s.believe(ctx)
	}
	if err != nil {
		return nil, err
	}
	sighting, err := spotSighting(r)
	if err != nil {
		return nil, r.Unreadable("an interruption notice", err)
	}
	return []agent.Sighting{sighting}, nil
}

// believe decides whether a 404 means "no notice": only if the service knows
// the instance's id, which each instance has.
func (s *Spot) believe(ctx context.Context) error {
	asked := time.Now()
	if s.trust.Holds(asked) {
		return nil
	}
	if s.client.left == 0 {
		return nil // the next poll asks
	}
	if _, err := s.client.get(ctx, itemInstance); err != nil {
		return err
	}
	s.trust.Gain(asked)
	return nil
}

// Close gives up the connection. The Spot may be used again.
func (s *Spot) Close() { s.client.transport.Close() }
