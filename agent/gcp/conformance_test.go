package gcp_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/gcp"
	"github.com/ebbtide/ebbtide/agent/gcp/gcptest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

// second is how long a second of a long poll lasts in these tests.
const second = 20 * time.Millisecond

func startServer(t *testing.T, o gcptest.Options) *gcptest.Server {
	t.Helper()
	server, err := gcptest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// source is what the three sources have besides being an agent.Source.
type source interface {
	agent.Source
	Age(d time.Duration)
	Close()
}

// rig joins a source of server.
func rig(t *testing.T, server *gcptest.Server, s source, announce, end func()) *sourcetest.Rig {
	t.Helper()
	t.Cleanup(s.Close)
	return &sourcetest.Rig{
		Server: server.Server, Source: s, Age: s.Age, Close: s.Close, Announce: announce, End: end,
	}
}

func newPreempted(t *testing.T, server *gcptest.Server) *gcp.Preempted {
	t.Helper()
	s, err := gcp.NewPreempted(gcp.Options{Endpoint: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func newMaintenanceEvent(t *testing.T, server *gcptest.Server) *gcp.MaintenanceEvent {
	t.Helper()
	s, err := gcp.NewMaintenanceEvent(gcp.Options{Endpoint: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func newUpcoming(t *testing.T, server *gcptest.Server) *gcp.UpcomingMaintenance {
	t.Helper()
	s, err := gcp.NewUpcomingMaintenance(gcp.Options{Endpoint: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// unmoved is a source that reads none of the keys that those faults are about.
func unmoved(faults ...metadatatest.Fault) func(metadatatest.Definition) metadatatest.Effect {
	return func(row metadatatest.Definition) metadatatest.Effect {
		if slices.Contains(faults, row.Fault) {
			return metadatatest.Shows
		}
		return row.Effect
	}
}

func TestPreemptedConforms(t *testing.T) { //nolint:paralleltest // goroutines are counted
	sourcetest.Run(t, sourcetest.Harness{
		New: func(t *testing.T, keepAlive bool) *sourcetest.Rig {
			t.Helper()
			server := startServer(t, gcptest.Options{KeepAlive: keepAlive, Second: second})
			s := newPreempted(t, server)
			s.Hasten(second)
			return rig(t, server, s, func() { server.Preempt(0) }, server.TakeBack)
		},
		Want:       agent.Sighting{Kind: agent.SpotInterruption, Action: agent.Terminate, State: agent.Started, AtKind: agent.Estimated, Nominal: 30 * time.Second},
		MaxPerPoll: 2, IdlePerPoll: 1.1,
		Effect: unmoved(gcptest.NoMaintenance, gcptest.NothingReceived),
	})
}

func TestMaintenanceEventConforms(t *testing.T) { //nolint:paralleltest // goroutines are counted
	sourcetest.Run(t, sourcetest.Harness{
		New: func(t *testing.T, keepAlive bool) *sourcetest.Rig {
			t.Helper()
			server := startServer(t, gcptest.Options{KeepAlive: keepAlive, Second: second})
			s := newMaintenanceEvent(t, server)
			s.Hasten(second)
			return rig(t, server, s, func() { server.Maintain(0, "TERMINATE") }, server.EndMaintenance)
		},
		Want:       agent.Sighting{Kind: agent.Maintenance, Action: agent.Terminate, State: agent.Scheduled, AtKind: agent.Estimated, Nominal: time.Minute},
		MaxPerPoll: 3, IdlePerPoll: 1, Effect: unmoved(gcptest.NothingReceived),
	})
}

// ahead is how far ahead maintenance is planned.
const ahead = 9 * 24 * time.Hour

func TestUpcomingMaintenanceConforms(t *testing.T) { //nolint:paralleltest // goroutines are counted
	sourcetest.Run(t, sourcetest.Harness{
		New: func(t *testing.T, keepAlive bool) *sourcetest.Rig {
			t.Helper()
			server := startServer(t, gcptest.Options{KeepAlive: keepAlive, Second: second})
			return rig(t, server, newUpcoming(t, server),
				func() { server.Plan(0, "PENDING", time.Now().Add(ahead)) }, server.Unplan)
		},
		Want: agent.Sighting{
			Kind: agent.Maintenance, Action: agent.Terminate, State: agent.Scheduled, AtKind: agent.Earliest, Nominal: 60 * 24 * time.Hour,
		},
		Lead: ahead, MaxPerPoll: 3, IdlePerPoll: 1.1,
	})
}
