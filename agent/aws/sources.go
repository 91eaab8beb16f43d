package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// The bounds of Options.
const (
	maxTimeout  = time.Second
	minInterval = time.Second
	maxInterval = 5 * time.Second
	// maxHeartbeat is the longest heartbeat timeout that a lifecycle hook can have.
	maxHeartbeat = 2 * time.Hour
)

// Options says how the metadata service is reached and how its items are read.
type Options struct {
	// Endpoint is a URL that CheckEndpoint accepts, such as IPv6Endpoint; empty means
	// DefaultEndpoint.
	Endpoint string
	// AllowIMDSv1 reads items without a token where none can be had. IMDSv1
	// answers whoever can make this machine send a GET.
	AllowIMDSv1 bool
	// Instance is the id of this instance, as InstanceID has it, which the service must
	// tell. Empty means that any id will do.
	Instance string
	// Timeout bounds a poll of the interruption notice, and half of it each step of any
	// request; 0 means one second, which is also the most.
	Timeout time.Duration
	// PollInterval is the time from one poll of the interruption notice to the next, from
	// one second, which 0 means, to five: of a notice of two minutes, they are the most
	// that may be slept away. EC2's user guide advises no longer interval either.
	PollInterval time.Duration
	// LifecycleNotice is how long the Auto Scaling group's hook holds a termination back:
	// its heartbeat timeout, which the service does not tell. 0 means 15 minutes, the most
	// is two hours. A hook has an hour unless it was told otherwise, and ends before that
	// for whoever completes it.
	LifecycleNotice time.Duration
}

// DefaultLifecycleNotice is what an empty Options has: a quarter of what a hook has by
// default.
const DefaultLifecycleNotice = 15 * time.Minute

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = maxTimeout
	}
	if o.PollInterval == 0 {
		o.PollInterval = minInterval
	}
	if o.LifecycleNotice == 0 {
		o.LifecycleNotice = DefaultLifecycleNotice
	}
	return o
}

func (o Options) check() error {
	switch {
	case o.Timeout < 0 || o.Timeout > maxTimeout:
		return fmt.Errorf("timeout %s is not between 0s and %s", o.Timeout, maxTimeout)
	case o.PollInterval < minInterval || o.PollInterval > maxInterval:
		return fmt.Errorf("poll interval %s is not between %s and %s", o.PollInterval, minInterval, maxInterval)
	case o.LifecycleNotice < 0 || o.LifecycleNotice > maxHeartbeat:
		return fmt.Errorf("lifecycle notice %s is not between 0s and %s", o.LifecycleNotice, maxHeartbeat)
	}
	return nil
}

// NewSources returns what the metadata service announces, an agent.Source for each
// item, in this order: spot, rebalance, maintenance, lifecycle. They send nothing yet.
// The error says which option cannot be used.
//
// They share one client and may be polled at the same time. Together they send at most
// 1.5 requests a second over any minute and seven within one second. Each is an io.Closer
// as well: closing one gives up the connection of all, and they may be used again.
func NewSources(o Options) ([]agent.Source, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	var sources []agent.Source
	for _, item := range items(o) {
		sources = append(sources, &source{item: item, client: c})
	}
	return sources, nil
}

// item is one place where something is announced.
type item struct {
	name string // of the source
	path string // below /latest/meta-data/
	pace agent.Pace
	// spare is how much room for requests each question leaves to the others.
	spare int
	// read is what a reply says, errUnproven if it says "none" as little as a 404 does.
	read func(metadata.Reply) ([]agent.Sighting, error)
	// what names what the item should hold.
	what string
}

// errUnproven is a reply that says "none" if the service is known to be sound.
var errUnproven = errors.New("nothing that tells the service from another")

// patience is how long the slower items may wait for room in the budget.
const patience = 15 * time.Second

// items are those that are read. What they ask for comes to 1.22 requests a second, and
// the proof that 404s are believed on to another 0.1.
//
// EC2's user guide advises to look for a rebalance recommendation every five seconds, as
// for the interruption itself. An advice has no deadline, and the interruption that may
// come with it is asked for each second. The shortest hook of an Auto Scaling group holds a
// termination back for thirty seconds, and the default is an hour.
func items(o Options) []item {
	return []item{
		{
			name: "spot", path: "spot/instance-action", what: "an interruption notice", read: readSpot,
			pace: agent.Pace{Every: o.PollInterval, Timeout: o.Timeout, BlindAfter: 10 * time.Second},
		},
		{
			name: "rebalance", path: "events/recommendations/rebalance", what: "a rebalance recommendation",
			read: readRebalance, spare: spotsOwn,
			pace: agent.Pace{Every: 10 * time.Second, Timeout: patience, BlindAfter: time.Minute},
		},
		{
			name: "maintenance", path: "events/maintenance/scheduled", what: "a list of scheduled events",
			read: readMaintenance, spare: spotsOwn,
			pace: agent.Pace{Every: time.Minute, Timeout: patience, BlindAfter: 3 * time.Minute},
		},
		{
			name: "lifecycle", path: "autoscaling/target-lifecycle-state", what: "a lifecycle state",
			read: lifecycle(o.LifecycleNotice), spare: spotsOwn,
			pace: agent.Pace{Every: 10 * time.Second, Timeout: patience, BlindAfter: 30 * time.Second},
		},
	}
}

// source is one item, as agent.Source.
type source struct {
	item
	client *client
	begun  bool  // whether a poll has found room to ask
	failed error // of the last that has; nil if that went well
	// yielded is whether the last poll was held back, behind others perhaps.
	yielded bool
}

var _ agent.Source = (*source)(nil)

// Provider implements agent.Source.
func (s *source) Provider() string { return "aws" }

// Name implements agent.Source.
func (s *source) Name() string { return s.name }

// Pace implements agent.Source.
func (s *source) Pace() agent.Pace { return s.pace }

// Poll asks once what the item holds, as soon as the budget has room for it. It sends one
// request, one more every ten seconds that proves the service, and at most four when its
// token has ended as well. The error is a *metadata.ReadError.
func (s *source) Poll(ctx context.Context) ([]agent.Sighting, error) {
	bounded, stop := context.WithTimeout(ctx, s.pace.Timeout)
	defer stop()
	sightings, err := s.poll(bounded)
	switch {
	case errors.Is(err, errHeldBack):
		// Nothing was learned: what was wrong before still is. That ctx is late by now says
		// nothing either, since it ends when the source's own patience does.
		if s.failed != nil && !errors.Is(ctx.Err(), context.Canceled) {
			err = s.failed
		}
		s.yielded = true
		return nil, err
	case err != nil:
		s.client.lose()
	}
	s.begun, s.failed, s.yielded = true, err, false
	return sightings, err
}

func (s *source) poll(ctx context.Context) ([]agent.Sighting, error) {
	spare := s.spare
	switch {
	case !s.begun:
		spare = min(spare, spotsLeast)
	case s.failed != nil && spare > 0 && !s.yielded:
		// It is tried again each second. Those that see go first, or one item that is
		// refused for good would make the others late.
		spare++
	}
	r, err := s.client.get(ctx, spare, s.path)
	if metadata.Answered(err, http.StatusNotFound) {
		return nil, s.client.believe(ctx, spare)
	}
	if err != nil {
		return nil, err
	}
	sightings, err := s.read(r)
	switch {
	case errors.Is(err, errUnproven):
		return nil, s.client.believe(ctx, spare)
	case err != nil:
		return nil, r.Unreadable(s.what, err)
	}
	return sightings, nil
}

// Close gives up the connection that all sources share. They may be used again.
func (s *source) Close() error {
	s.client.close()
	return nil
}
