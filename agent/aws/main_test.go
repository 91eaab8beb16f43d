package aws_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

const nowhere = sourcetest.Nowhere

// TestMain sets what AWS's own clients read of the environment, too.
func TestMain(m *testing.M) {
	sourcetest.Main(m, map[string]string{
		"AWS_EC2_METADATA_DISABLED":              "true",
		"AWS_EC2_METADATA_V1_DISABLED":           "true",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT":      nowhere,
		"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6",
	})
}

// clock is this machine's, and can be put forward.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// paced is a source that is polled at its pace, as far as its trust and its budget go.
type paced struct {
	agent.Source
	clock *clock
	every time.Duration
}

func (p paced) Poll(ctx context.Context) ([]agent.Sighting, error) {
	p.clock.advance(p.every)
	return p.Source.Poll(ctx)
}

// newSources are the sources by their names.
func newSources(t *testing.T, o aws.Options) map[string]paced {
	t.Helper()
	made, err := aws.NewSources(o)
	if err != nil {
		t.Fatal(err)
	}
	ticks := &clock{}
	aws.SetClock(made[0], ticks.now)
	sources := map[string]paced{}
	for _, source := range made {
		sources[source.Name()] = paced{source, ticks, source.Pace().Every}
		t.Cleanup(func() { closeSource(t, source) })
	}
	return sources
}

func closeSource(t *testing.T, s agent.Source) {
	t.Helper()
	closer, ok := s.(io.Closer)
	if !ok {
		t.Fatalf("%T is no io.Closer", s)
	}
	if err := closer.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func newSpot(t *testing.T, o aws.Options) paced {
	t.Helper()
	return newSources(t, o)["spot"]
}
