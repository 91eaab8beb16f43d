package agent

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

// DrillStep says what a [DrillEvent] tells. The values are stable: scripts read them.
type DrillStep string

// The steps of a drill.
const (
	// DrillBegan comes first, with Drill.
	DrillBegan DrillStep = "Began"
	// DrillPlanned comes with Plan.
	DrillPlanned DrillStep = "Planned"
	// DrillCordoned comes with Cordon, when the node was marked.
	DrillCordoned DrillStep = "Cordoned"
	// DrillPod comes with Pod, when one was told to stop and when it has its outcome.
	DrillPod DrillStep = "Pod"
	// DrillReported comes with Report, when no pod moves any more.
	DrillReported DrillStep = "Reported"
	// DrillFailed comes with Err, when something has to be tried again, or, in a dry
	// run, did not succeed.
	DrillFailed DrillStep = "Failed"
	// DrillTakenOver comes with Notice: a real one has come, and goes on from here.
	DrillTakenOver DrillStep = "TakenOver"
	// DrillPutBack comes last, when the node is as it was before; with Err where pods
	// are still to be tidied, which the agent goes on with.
	DrillPutBack DrillStep = "PutBack"
)

// DrillStart says which drill has begun.
type DrillStart struct {
	DrillOrder

	// ID is that of the drill's notice, by which it is found in logs and Events.
	ID   string `json:"id"`
	Node string `json:"node"`
	// Deadline is when the machine would end.
	Deadline time.Time `json:"deadline"`
	// Resumed is true when an earlier agent had begun it: the node is put back only.
	Resumed bool `json:"resumed,omitempty"`
}

// DrillEvent is one thing that happened in a drill. Only the fields that its step names
// are set.
type DrillEvent struct {
	At     time.Time            `json:"at"`
	Step   DrillStep            `json:"step"`
	Drill  *DrillStart          `json:"drill,omitempty"`
	Plan   *drain.Plan          `json:"plan,omitempty"`
	Cordon *drain.CordonOutcome `json:"cordon,omitempty"`
	Pod    *drain.PodOutcome    `json:"pod,omitempty"`
	Report *drain.Report        `json:"report,omitempty"`
	Notice *Notice              `json:"notice,omitempty"`
	Err    string               `json:"error,omitempty"`
}

// DrillRun is what happened in one drill so far. A nil one takes no notes: that is a
// real drain, which nobody follows. It is safe for use by several goroutines.
type DrillRun struct {
	mu     sync.Mutex
	events []DrillEvent
	ended  bool
	// changed is closed, and made anew, at each change.
	changed chan struct{}
}

func newDrillRun() *DrillRun { return &DrillRun{changed: make(chan struct{})} }

// Events tells everything that has happened, from the beginning on, and goes on until
// the drill has ended or ctx has.
func (r *DrillRun) Events(ctx context.Context) iter.Seq[DrillEvent] {
	return func(yield func(DrillEvent) bool) {
		for next := 0; ; {
			r.mu.Lock()
			events, ended, changed := r.events[next:], r.ended, r.changed
			r.mu.Unlock()
			for _, event := range events {
				if !yield(event) {
					return
				}
			}
			next += len(events)
			if ended {
				return // nothing is added after the end
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// add notes that event happens now, unless the drill has ended.
func (r *DrillRun) add(event DrillEvent) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	event.At = time.Now()
	r.events = append(r.events, event)
	r.tell()
}

// end notes that nothing happens any more.
func (r *DrillRun) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.tell()
}

func (r *DrillRun) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *DrillRun) planned(plan drain.Plan) { r.add(DrillEvent{Step: DrillPlanned, Plan: &plan}) }

func (r *DrillRun) cordoned(outcome drain.CordonOutcome) {
	r.add(DrillEvent{Step: DrillCordoned, Cordon: &outcome})
}

func (r *DrillRun) pod(pod drain.PodOutcome) { r.add(DrillEvent{Step: DrillPod, Pod: &pod}) }

func (r *DrillRun) reported(report drain.Report) {
	r.add(DrillEvent{Step: DrillReported, Report: &report})
}
