package gcp

import (
	"context"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent"
)

// hostNotice is how long before host maintenance the key turns, by Compute
// Engine's documentation, "Query the metadata server for maintenance event
// notices". Machines with GPUs are promised more, which the key does not tell.
const hostNotice = 60 * time.Second

// onHost ends every value that announces maintenance.
const onHost = "_ON_HOST_MAINTENANCE"

// MaintenanceEvent is the host maintenance that is about to begin, as
// agent.Source: the instance is migrated live, or terminated.
//
// The same page says that the notice is only given to an instance that has asked
// for the key since the last maintenance, so that watching it is what makes it
// come. An instance that can be neither migrated nor has a GPU need not have the key.
//
// As with Preempted, the moment in a sighting is reckoned.
type MaintenanceEvent struct{ watch }

var _ agent.Source = (*MaintenanceEvent)(nil)

// NewMaintenanceEvent sends nothing yet. The error says which option cannot be
// used.
func NewMaintenanceEvent(o Options) (*MaintenanceEvent, error) {
	w, err := newWatch(o, watch{
		path: keyMaintenance, none: "NONE", optional: true, what: "a maintenance event",
		known: func(value string) bool { return value == "NONE" || eventAction(value) != "" },
	})
	if err != nil {
		return nil, err
	}
	return &MaintenanceEvent{watch: w}, nil
}

// Name implements agent.Source.
func (m *MaintenanceEvent) Name() string { return "maintenance-event" }

// Poll asks whether host maintenance is about to begin, and waits some seconds
// for that to change. It sends one request, and at most three. The error is a
// *metadata.ReadError.
func (m *MaintenanceEvent) Poll(ctx context.Context) ([]agent.Sighting, error) {
	reply, err := m.next(ctx)
	if err != nil || m.value == m.none {
		return nil, err
	}
	return []agent.Sighting{m.turned(reply, hostNotice, agent.Sighting{
		Kind: agent.Maintenance, Action: eventAction(m.value), State: agent.Scheduled,
	})}, nil
}

// eventAction is what a value announces: migrate, terminate, or what Google
// invents later. It is empty for what announces nothing.
func eventAction(value string) agent.Action {
	action, found := strings.CutSuffix(value, onHost)
	strange := func(r rune) bool { return r < 'A' || r > 'Z' }
	if !found || strings.ContainsFunc(action, strange) {
		return ""
	}
	return agent.Action(strings.ToLower(action))
}
