package azure_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/azure"
	"github.com/ebbtide/ebbtide/agent/azure/azuretest"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

const (
	// lead is what Azure promises before an eviction, and does not keep.
	lead = 30 * time.Second
	// counted is what is counted on.
	counted = 10 * time.Second
)

func TestScheduledEventsConforms(t *testing.T) { //nolint:paralleltest // goroutines are counted
	sourcetest.Run(t, sourcetest.Harness{
		New:  rig,
		Want: agent.Sighting{Kind: agent.SpotInterruption, Action: agent.Terminate, State: agent.Scheduled, AtKind: agent.Earliest, Nominal: counted},
		Lead: lead, MaxPerPoll: 3, IdlePerPoll: 1.1,
	})
}

func rig(t *testing.T, keepAlive bool) *sourcetest.Rig {
	t.Helper()
	server := azuretest.New(t, azuretest.Options{KeepAlive: keepAlive})
	source := newSource(t, azure.Options{Endpoint: server.URL()})
	const id = "602D9444-D2CD-49C7-8624-8643E7171297"
	return &sourcetest.Rig{
		Server: server.Server, Source: source, Age: source.Age, Close: source.Close,
		Announce: func() {
			server.Schedule(azuretest.Event{ID: id, Type: "Preempt", NotBefore: time.Now().Add(lead)})
		},
		End: func() { server.Remove(id) },
	}
}

func newSource(t *testing.T, o azure.Options) *azure.ScheduledEvents {
	t.Helper()
	source, err := azure.NewScheduledEvents(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	return source
}
