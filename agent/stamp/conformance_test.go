package stamp_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
	"github.com/ebbtide/ebbtide/agent/stamp"
	"github.com/ebbtide/ebbtide/agent/stamp/stamptest"
)

// brand is a cloud as the tests see it.
type brand struct {
	cloud stamptest.Cloud
	make  func(stamp.Options) (*stamp.Spot, error)
	lead  time.Duration // the notice that it documents
	every time.Duration // the interval of polls without an option
	idle  float64       // requests a poll at that interval while there is nothing
}

var brands = []brand{
	{stamptest.Alibaba, stamp.NewAlibaba, 5 * time.Minute, 5 * time.Second, 1.6},
	{stamptest.Tencent, stamp.NewTencent, 2 * time.Minute, 2 * time.Second, 1.2},
}

// start is the fake of the brand and a source that reads it.
func (b brand) start(t *testing.T, o stamptest.Options) (*stamptest.Server, *stamp.Spot) {
	t.Helper()
	o.Cloud = b.cloud
	server, err := stamptest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	spot, err := b.make(stamp.Options{Endpoint: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spot.Close)
	return server, spot
}

// each runs a test for each brand.
func each(t *testing.T, test func(t *testing.T, b brand)) {
	t.Helper()
	for _, b := range brands {
		t.Run(string(b.cloud), func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}

func TestSpotConforms(t *testing.T) { //nolint:paralleltest // goroutines are counted
	for _, b := range brands {
		t.Run(string(b.cloud), func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Harness{
				New: func(t *testing.T, keepAlive bool) *sourcetest.Rig {
					t.Helper()
					server, spot := b.start(t, stamptest.Options{KeepAlive: keepAlive})
					return &sourcetest.Rig{
						Server: server.Server, Source: spot, Age: spot.Age, Close: spot.Close, End: server.TakeBack,
						Announce: func() { server.Interrupt(time.Now().Add(b.lead)) },
					}
				},
				Want: agent.Sighting{Kind: agent.SpotInterruption, Action: agent.Terminate, State: agent.Scheduled, Nominal: b.lead},
				Lead: b.lead, MaxPerPoll: 4, IdlePerPoll: b.idle,
			})
		})
	}
}
