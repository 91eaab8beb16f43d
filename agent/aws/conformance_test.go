package aws_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

func TestSpotConforms(t *testing.T) { //nolint:paralleltest // goroutines are counted
	for name, allowV1 := range map[string]bool{"with tokens": false, "with IMDSv1 allowed": true} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Harness{
				New:  func(t *testing.T, keepAlive bool) *sourcetest.Rig { t.Helper(); return spotRig(t, keepAlive, allowV1) },
				Want: agent.Sighting{Kind: agent.SpotInterruption, Action: agent.Terminate, State: agent.Scheduled, Nominal: lead},
				Lead: lead, MaxPerPoll: 3, IdlePerPoll: 1.2,
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

// lead is the length of notice of these tests.
const lead = 2 * time.Minute

func spotRig(t *testing.T, keepAlive, allowV1 bool) *sourcetest.Rig {
	t.Helper()
	server, err := awstest.Start(awstest.Options{KeepAlive: keepAlive})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	spot := newSpot(t, aws.Options{Endpoint: server.URL(), AllowIMDSv1: allowV1})
	return &sourcetest.Rig{
		Server: server.Server, Source: spot, Age: spot.Age, Close: spot.Close, End: server.TakeBack,
		Announce: func() { server.Interrupt("terminate", time.Now().Add(lead)) },
	}
}
