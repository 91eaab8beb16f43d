package aws_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

// lead is the length of notice of these tests.
const lead = 2 * time.Minute

// rig is one of the sources with the fake that it reads.
func rig(t *testing.T, keepAlive bool, o aws.Options, name string, announce, end func(*awstest.Server)) *sourcetest.Rig {
	t.Helper()
	server, err := awstest.Start(awstest.Options{KeepAlive: keepAlive})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	o.Endpoint = server.URL()
	source := newSources(t, o)[name]
	// A fault lasts for some seconds. In less the budget would have a source that needs a
	// new token for each wait for it, and these tests with it.
	source.every = max(2*source.every, 3*time.Second)
	return &sourcetest.Rig{
		Server: server.Server, Source: source, Close: func() { closeSource(t, source.Source) },
		Announce: func() { announce(server) }, End: func() { end(server) },
	}
}

func TestSpotConforms(t *testing.T) { //nolint:paralleltest // goroutines are counted
	for name, allowV1 := range map[string]bool{"with tokens": false, "with IMDSv1 allowed": true} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Harness{
				New: func(t *testing.T, keepAlive bool) *sourcetest.Rig {
					t.Helper()
					return rig(t, keepAlive, aws.Options{AllowIMDSv1: allowV1}, "spot",
						func(s *awstest.Server) { s.Interrupt("terminate", time.Now().Add(lead)) }, (*awstest.Server).TakeBack)
				},
				Want: agent.Sighting{Kind: agent.SpotInterruption, Action: agent.Terminate, State: agent.Scheduled, Nominal: lead},
				Lead: lead, MaxPerPoll: 4, IdlePerPoll: 1.4,
				Effect: func(row metadatatest.Definition) metadatatest.Effect {
					if row.Effect == awstest.BlindsWithoutV1 && allowV1 {
						return metadatatest.Shows
					}
					return row.Effect
				},
			})
		})
	}
}

func TestRebalanceConforms(t *testing.T) { //nolint:paralleltest // goroutines are counted
	sourcetest.Run(t, sourcetest.Harness{
		New: func(t *testing.T, keepAlive bool) *sourcetest.Rig {
			t.Helper()
			return rig(t, keepAlive, aws.Options{}, "rebalance",
				func(s *awstest.Server) { s.Rebalance(0) }, (*awstest.Server).EndRebalance)
		},
		Want:       agent.Sighting{Kind: agent.RebalanceAdvice, State: agent.Advisory},
		MaxPerPoll: 4, IdlePerPoll: 2.1, // at this pace no proof lasts
	})
}

// inTurn does one of several things each time.
func inTurn(do ...func(*awstest.Server)) func(*awstest.Server) {
	var times atomic.Int64
	return func(s *awstest.Server) { do[int(times.Add(1))%len(do)](s) }
}

func TestMaintenanceConforms(t *testing.T) { //nolint:paralleltest // goroutines are counted
	const id = "instance-event-0ebb71de0ebb71de0"
	set := func(state string) func(*awstest.Server) {
		return func(s *awstest.Server) {
			s.Schedule(0, awstest.Event{ID: id, Code: "instance-stop", NotBefore: time.Now().Add(lead), State: state})
		}
	}
	end := inTurn(set("canceled"), set("completed"), func(s *awstest.Server) { s.Unschedule(id) })
	sourcetest.Run(t, sourcetest.Harness{
		New: func(t *testing.T, keepAlive bool) *sourcetest.Rig {
			t.Helper()
			return rig(t, keepAlive, aws.Options{}, "maintenance", set("active"), end)
		},
		Want: agent.Sighting{
			Kind: agent.Maintenance, Action: agent.Stop, State: agent.Scheduled, AtKind: agent.Earliest, Nominal: 60 * 24 * time.Hour,
		},
		Lead: lead, MaxPerPoll: 4, IdlePerPoll: 1.1,
		Effect: func(row metadatatest.Definition) metadatatest.Effect {
			if awstest.Fault(row.Fault) == awstest.EmptyBody {
				return metadatatest.Hides // an empty page is none
			}
			return row.Effect
		},
	})
}

func TestLifecycleConforms(t *testing.T) { //nolint:paralleltest // goroutines are counted
	end := inTurn((*awstest.Server).EndTarget, func(s *awstest.Server) { s.Target(0, "InService") })
	sourcetest.Run(t, sourcetest.Harness{
		New: func(t *testing.T, keepAlive bool) *sourcetest.Rig {
			t.Helper()
			return rig(t, keepAlive, aws.Options{}, "lifecycle", func(s *awstest.Server) { s.Target(0, "Terminated") }, end)
		},
		Want:       agent.Sighting{Kind: agent.ScaleIn, Action: agent.Terminate, State: agent.Started, Nominal: 15 * time.Minute},
		MaxPerPoll: 4, IdlePerPoll: 2.1,
	})
}
