// Package sourcetest is what every agent.Source must do, as a suite that each
// source passes against the fake of its own cloud: say "none" and a notice, say
// the same notice in the same words, see it end; and under every fault that the
// service can have neither see what is not there nor be calm about what it
// cannot see, keep to its time, say in one line what is wrong, and see again in
// the first poll after. A source that flaps leaves no goroutine and no
// connection behind.
//
// What a cloud's words mean is no part of it: that is for the tests of the source.
package sourcetest

import (
	"context"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// Rig is a source that reads a fake.
type Rig struct {
	// Server is the frame of the fake.
	Server *metadatatest.Server
	// Source is asked by the suite alone. Time is real here, so a long poll
	// should have a short Timeout.
	Source agent.Source
	// Announce makes a notice readable now.
	Announce func()
	// End takes it back, in the way of the cloud: it vanishes, or is shown as
	// cancelled.
	End func()
	// Age lets d pass for what the source remembers by time, such as
	// metadata.Trust; nil if it remembers nothing.
	Age func(d time.Duration)
	// Close gives up what the source holds.
	Close func()

	polls int // so far
}

// Harness says how a source is tested.
type Harness struct {
	// New makes a rig for one case, without a notice. Connections may be reused if
	// keepAlive is true. What it starts ends with the test.
	New func(t *testing.T, keepAlive bool) *Rig
	// Want is what the notice of Rig.Announce must be read as, but for its ID, At,
	// ServerTime and Raw. Its AtKind is that of a moment, where there is one.
	Want agent.Sighting
	// Lead is how long after the notice its moment is; 0 if the cloud names none.
	Lead time.Duration
	// MaxPerPoll is how many requests one poll may send, whatever happens.
	MaxPerPoll int
	// IdlePerPoll is how many requests polls may send on average while there is
	// nothing to see.
	IdlePerPoll float64
	// Effect is what a fault must do to this source, where that is not the effect
	// in its row; nil takes all from the rows. An effect that the suite does not
	// know counts as Blinds.
	Effect func(row metadatatest.Definition) metadatatest.Effect
}

// check is one promise; the error says how it was broken.
type check func(ctx context.Context, h Harness, r *Rig) error

// checks are the promises of a source whose service is well.
var checks = map[string]check{
	"its pace and names can be used":              usable,
	"it says none when there is none":             sayNone,
	"it reads a notice":                           readNotice,
	"it reads the same notice in the same words":  repeatNotice,
	"it sees a notice end and the next one begin": seeEnd,
	"it goes by the cloud's clock":                goByCloudsClock,
	"it sends little while there is nothing":      sendLittle,
	"it ends with its context":                    endWithContext,
}

// Run holds a source to the suite. The test that calls it must not be parallel,
// because goroutines are counted.
func Run(t *testing.T, h Harness) {
	t.Helper()
	for name, c := range map[string]struct {
		keepAlive bool
		polls     int
	}{
		"where connections are kept":     {true, manyPolls},
		"where each request has its own": {false, somePolls},
	} {
		// These come one by one, before the parallel tests begin.
		t.Run("flapping leaves nothing behind "+name, func(t *testing.T) { //nolint:paralleltest // goroutines are counted
			if err := flap(t.Context(), h, h.New(t, c.keepAlive), c.polls); err != nil {
				t.Error(err)
			}
		})
	}
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := check(t.Context(), h, h.New(t, true)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, row := range h.faults(h.New(t, false)) {
		for name, c := range circumstances {
			t.Run(string(row.Fault)+" "+name, func(t *testing.T) {
				t.Parallel()
				if err := endure(t.Context(), h, h.New(t, c.keepAlive), row, c); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// faults are the rows that the source is held to, with the effects on it.
func (h Harness) faults(r *Rig) metadatatest.Definitions {
	var rows metadatatest.Definitions
	for _, row := range r.Server.Faults() {
		if h.Effect != nil {
			row.Effect = h.Effect(row)
		}
		rows = append(rows, row)
	}
	return rows
}

// poll asks as an agent does, within the source's own bound.
func (r *Rig) poll(ctx context.Context) ([]agent.Sighting, error) {
	ctx, stop := context.WithTimeout(ctx, r.Source.Pace().Timeout)
	defer stop()
	r.polls++
	return r.Source.Poll(ctx)
}

// age lets d pass.
func (r *Rig) age(d time.Duration) {
	if r.Age != nil {
		r.Age(d)
	}
}
