package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/agent"
)

const (
	// holdFor is how long a poll waits for a change. It costs no request: it is only how
	// often the agent hears that the watch stands.
	holdFor = 10 * time.Second
	// brief is how long a new watch has to stand until it is believed in.
	brief = time.Second
	// provenFor is how long a watch is believed in that tells of nothing. Then the Node is
	// read anew: an API server that has lost its store keeps its watches open.
	provenFor = 5 * time.Minute
	// answerWithin bounds one request, until the reply begins.
	answerWithin = 5 * time.Second
	// firstRest and longestRest are the pauses after requests that failed. All nodes fail
	// together when an API server goes, and must not be what keeps it from coming back.
	firstRest   = time.Second
	longestRest = 10 * time.Second
)

// pace has time for the hold, and then a rest with its spread, three requests and a look at
// whether the watch stands.
//
// BlindAfter is longer than for a cloud. API servers go away for a minute when they are
// upgraded, for every node at once, and the agents are back within longestRest after
// that: nobody should be called meanwhile. Nor could a notice be acted on without them.
var pace = agent.Pace{
	Every:      100 * time.Millisecond,
	Timeout:    longestRest + longestRest/spreads + 3*answerWithin + holdFor + brief,
	BlindAfter: 2 * time.Minute,
}

// errNoNode is an answer: the API server can be asked, and has no such Node.
var errNoNode = errors.New("the cluster has no such node")

// Source is what is about to happen to one Node, as agent.Source. It is not safe for
// concurrent use.
type Source struct {
	client *client

	watch   *held
	version string    // from which on nothing was missed; empty: the Node is read anew
	until   time.Time // when it is read anew in any case
	seen    []agent.Sighting
	said    []agent.Sighting // by the last poll that saw

	fails int       // in a row
	rest  time.Time // until when nothing is asked
}

var _ agent.Source = (*Source)(nil)

// New returns a source for the Node called node. It asks nothing yet. The error says what
// cannot be used.
func New(config *rest.Config, node string) (*Source, error) {
	if node == "" {
		return nil, errors.New("watching a node: its name is empty")
	}
	client, err := newClient(config, node)
	if err != nil {
		return nil, err
	}
	return &Source{client: client}, nil
}

// Provider implements agent.Source.
func (s *Source) Provider() string { return "kubernetes" }

// Name implements agent.Source.
func (s *Source) Name() string { return "node" }

// Pace implements agent.Source.
func (s *Source) Pace() agent.Pace { return pace }

// Poll says what is about to happen to the Node: at once if it has changed or something
// is found when the Node is read anew, and else after some seconds in which it could have
// changed. What is called off it says once, as cancelled.
//
// It sends nothing while the watch stands, two requests every five minutes and after a
// fault, and one where a watch has come to its end. After a fault it rests before it asks,
// longer each time.
//
// A poll that is cancelled gives up the watch: nobody will ask again.
func (s *Source) Poll(ctx context.Context) ([]agent.Sighting, error) {
	err := s.poll(ctx)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		s.Close()
	case err != nil && ctx.Err() == nil:
		s.fail(err)
	}
	if err != nil {
		return nil, &unseen{s.client.node, err}
	}
	return s.sightings(), nil
}

// Close gives up the watch, and waits until nothing is left of it. It must not be called
// during a poll. The Source may be used again.
func (s *Source) Close() {
	if s.watch != nil {
		s.watch.close()
		s.watch = nil
	}
}

// sightings are what was seen, with what the API server's clock shows now, and once as
// cancelled what was said before and is not seen any more: the API server's word that a
// taint is gone is as good as its word that there is one.
func (s *Source) sightings() []agent.Sighting {
	all := slices.Clone(s.seen)
	for _, before := range s.said {
		if !slices.ContainsFunc(s.seen, func(now agent.Sighting) bool { return now.ID == before.ID }) {
			before.State = agent.Cancelled
			all = append(all, before)
		}
	}
	s.said = s.seen
	now := s.client.clock.now()
	for i := range all {
		all[i].ServerTime = now
	}
	return all
}

// poll brings what was seen up to date.
func (s *Source) poll(ctx context.Context) error {
	if s.watch != nil && time.Now().Before(s.until) {
		err := s.follow(ctx, holdFor)
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.ended(err)
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	if len(s.seen) > 0 {
		return nil // it cannot wait until the watch is believed in
	}
	return s.follow(ctx, brief)
}

// begin opens a watch after the rest that is due: where the last one ended, or else where
// the Node is read now.
func (s *Source) begin(ctx context.Context) (err error) {
	s.Close()
	if err := pause(ctx, time.Until(s.rest)); err != nil {
		return err
	}
	if s.version != "" && time.Now().Before(s.until) {
		// Where that is refused, its version is too old, or a list will say what is wrong.
		if s.watch, err = s.client.open(ctx, s.version); err == nil {
			return nil
		}
	}
	s.version = ""
	node, version, err := s.client.look(ctx)
	if err != nil {
		return err
	}
	s.seen, s.version, s.until = read(node), version, time.Now().Add(spread(provenFor))
	s.watch, err = s.client.open(ctx, version)
	if err != nil && len(s.seen) > 0 {
		s.fail(err)
		return nil // a notice is worth more than a watch
	}
	return err
}

// follow waits for the watch to say something new, for as long as hold.
func (s *Source) follow(ctx context.Context, hold time.Duration) error {
	enough := time.NewTimer(hold)
	defer enough.Stop()
	for {
		select {
		case event, open := <-s.watch.ResultChan():
			if !open {
				return errEnded
			}
			changed, err := s.take(event)
			if err != nil || changed {
				return err
			}
		case <-enough.C:
			s.fails = 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ended takes note of why a watch is over that stood before this poll. Servers end
// watches now and then, and forget the past: that is no failure, unless it was the watch
// that they did not hold.
func (s *Source) ended(why error) {
	stood := time.Since(s.watch.since) >= brief
	switch {
	case stood && errors.Is(why, errEnded): // the next one goes on there
	case stood && (apierrors.IsResourceExpired(why) || apierrors.IsGone(why)):
		s.version = ""
	default:
		s.fail(why)
	}
}

// take takes in an event, and says whether there is something else to say than before.
func (s *Source) take(event watch.Event) (changed bool, err error) {
	if event.Type == watch.Error {
		return false, apierrors.FromObject(event.Object)
	}
	node, is := event.Object.(*corev1.Node)
	if !is {
		return false, fmt.Errorf("a watch of nodes tells of a %T", event.Object)
	}
	s.version = node.ResourceVersion
	switch event.Type { //nolint:exhaustive // the rest is the Node as it is now
	case watch.Bookmark:
		return false, nil
	case watch.Deleted:
		return false, errNoNode
	}
	before := s.seen
	s.seen = read(node)
	return !slices.Equal(before, s.seen), nil
}

// fail lets the next request wait, longer each time, and be one for the Node as it is
// then: the errors of a list say more than those of a watch.
func (s *Source) fail(err error) {
	s.Close()
	s.version = ""
	rest := min(firstRest<<min(s.fails, 10), longestRest)
	if seconds, asked := apierrors.SuggestsClientDelay(err); asked {
		rest = min(max(rest, time.Duration(seconds)*time.Second), longestRest)
	}
	s.fails++
	s.rest = time.Now().Add(spread(rest))
}

// spreads is the part of d that spread adds at most.
const spreads = 5

// spread is d and up to a part more, so that the nodes of a cluster do not ask together.
func spread(d time.Duration) time.Duration {
	return d + rand.N(d/spreads) //nolint:gosec // nobody gains from guessing it
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
