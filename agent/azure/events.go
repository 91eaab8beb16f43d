package azure

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

const (
	// every is what the page on Scheduled Events advises, a second, and a moment more, so
	// that with the machine's name now and then it comes to no more than one request a
	// second; a fifth of what the metadata service allows to all programs of a machine
	// together.
	every = 1020 * time.Millisecond
	// maxTimeout is the longest that a poll may take. Of the ten seconds that an
	// eviction is taken to leave, a lost packet may cost two.
	maxTimeout = 2 * time.Second
	// blindAfter takes more than one flaky poll.
	blindAfter = 10 * time.Second
)

// Options says how the metadata service is reached, and what is looked for.
type Options struct {
	// Endpoint is a URL that CheckEndpoint accepts; empty means DefaultEndpoint.
	Endpoint string
	// Machine is the name of this machine as events have it, such as
	// "aks-pool-12345678-vmss_7", and as the metadata service must have it, too. Empty
	// means that the service is believed, the first time.
	Machine string
	// Timeout bounds one poll; 0 means two seconds, which is also the most.
	Timeout time.Duration
}

// ScheduledEvents is the list of the events that are ahead of this machine, as
// agent.Source.
type ScheduledEvents struct {
	client *metadata.Client
	pace   agent.Pace

	// What polls remember. Poll is never called twice at a time.
	answered time.Time // when a list was last read
	asleep   time.Time // since when the service is there and gives none; zero once it has
	waking   *waking   // nil while no question is open

	mu      sync.Mutex
	machine string    // guarded by mu; empty while it is not known
	proven  time.Time // guarded by mu; when the service last told that name
}

var _ agent.Source = (*ScheduledEvents)(nil)

// NewScheduledEvents sends nothing yet. The error says which option cannot be
// used.
func NewScheduledEvents(o Options) (*ScheduledEvents, error) {
	if o.Timeout == 0 {
		o.Timeout = maxTimeout
	}
	if o.Timeout < 0 || o.Timeout > maxTimeout {
		return nil, fmt.Errorf("timeout %s is not between 0s and %s", o.Timeout, maxTimeout)
	}
	if o.Machine != "" {
		if err := checkMachine(o.Machine); err != nil {
			return nil, err
		}
	}
	client, err := metadata.NewClient(metadata.Options{
		Endpoint: o.Endpoint, Default: DefaultEndpoint, Header: meant, Hints: hints,
		// The service takes its time for the first answer alone; a poll's context
		// bounds the others.
		Step: o.Timeout / 2, Wait: wakesWithin,
	})
	if err != nil {
		return nil, err
	}
	return &ScheduledEvents{
		client: client, machine: o.Machine,
		pace: agent.Pace{Every: every, Timeout: o.Timeout, BlindAfter: blindAfter},
	}, nil
}

// Provider implements agent.Source.
func (s *ScheduledEvents) Provider() string { return "azure" }

// Name implements agent.Source.
func (s *ScheduledEvents) Name() string { return "scheduled-events" }

// Pace implements agent.Source.
func (s *ScheduledEvents) Pace() agent.Pace { return s.pace }

// Poll asks once which events are ahead of this machine. It ends within
// Options.Timeout. It sends one request, and two when the service has to prove again
// that it is this machine's; while it wakes up, at most three. Each refusal ends the
// poll, so that a service that throttles is asked once a second. The error is a
// *metadata.ReadError.
//
// While the service wakes up, for two and a half minutes at most, a poll says
// "none" if the service answers about another item: Azure tells a machine of no
// event before that, so a new node is not called blind for it.
func (s *ScheduledEvents) Poll(ctx context.Context) ([]agent.Sighting, error) {
	ctx, stop := context.WithTimeout(ctx, s.pace.Timeout)
	defer stop()

	sightings, err := s.poll(ctx)
	if err != nil {
		s.doubt()
	}
	return sightings, err
}

func (s *ScheduledEvents) poll(ctx context.Context) ([]agent.Sighting, error) {
	reply, asleep, err := s.read(ctx)
	if err != nil || asleep {
		return nil, err
	}
	list, err := parse(reply)
	if err != nil {
		return nil, reply.Unreadable("a list of scheduled events", err)
	}
	s.answered, s.asleep = time.Now(), time.Time{}
	// Asked for while there is no event, too: without the name none could be told
	// from those of other machines.
	machine, err := s.name(ctx)
	if err != nil {
		return nil, err
	}
	sightings, err := list.sightings(reply.Date, machine)
	if err != nil {
		return nil, reply.Unreadable("a list of scheduled events", err)
	}
	if len(sightings) == 0 {
		return nil, s.prove(ctx)
	}
	return sightings, nil
}

// list asks for the events.
func (s *ScheduledEvents) list(ctx context.Context) (metadata.Reply, error) {
	return s.client.Do(ctx, metadata.Request{Path: pathEvents, Query: queryEvents})
}

// Close gives up what is under way, and the connection. It must not be called
// during a poll. The ScheduledEvents may be used again.
func (s *ScheduledEvents) Close() {
	if s.waking != nil {
		s.waking.end()
		s.waking = nil
	}
	s.client.Close()
}
