package drill

import (
	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

// Result is what a drill came to, as far as its events were heard.
type Result struct {
	// Drill says which drill it was; nil before its first event.
	Drill *agent.DrillStart `json:"drill,omitempty"`
	// Outcome sums it up.
	Outcome Outcome `json:"outcome"`
	// Plan is nil when none was made.
	Plan *drain.Plan `json:"plan,omitempty"`
	// Report is nil before the moves have ended, and in a dry run.
	Report *drain.Report `json:"report,omitempty"`
	// TakenOver is the real notice that broke the drill off; nil when none did.
	TakenOver *agent.Notice `json:"takenOver,omitempty"`
	// PutBack is true when the node is as it was before the drill. Then Err says why
	// its pods are not all tidied; empty when they are.
	PutBack bool `json:"putBack"`
	// Err is what failed last, and was not mended since; empty when nothing did.
	Err string `json:"error,omitempty"`
}

// Outcome sums up a drill. The values are stable: scripts read them.
type Outcome string

// The outcomes.
const (
	// Completed: every pod that had to leave has left. In a dry run, there is a plan.
	Completed Outcome = "Completed"
	// LeftPods: some stayed.
	LeftPods Outcome = "LeftPods"
	// BrokenOff: a real notice took over, or the drill did not come to its end, or the
	// node or its pods could not be put back as far as anybody has heard.
	BrokenOff Outcome = "BrokenOff"
)

// Take takes in the next event.
func (r *Result) Take(event agent.DrillEvent) {
	switch event.Step {
	case agent.DrillBegan:
		r.Drill = event.Drill
	case agent.DrillPlanned:
		r.Plan = event.Plan
	case agent.DrillReported:
		r.Report = event.Report
		r.Plan = &event.Report.Plan // pods may have joined it
	case agent.DrillTakenOver:
		r.TakenOver = event.Notice
	case agent.DrillFailed:
		r.Err = event.Err
	case agent.DrillPutBack:
		r.PutBack, r.Err = true, event.Err
	case agent.DrillCordoned, agent.DrillPod:
		// The report has it.
	}
	r.Outcome = r.outcome()
}

func (r *Result) outcome() Outcome {
	switch {
	case r.TakenOver != nil, r.Drill == nil:
		return BrokenOff
	case r.Drill.DryRun && r.Plan != nil && r.Err == "":
		return Completed
	case !r.PutBack, r.Report == nil, r.Err != "":
		return BrokenOff
	case !r.Report.Complete():
		return LeftPods
	}
	return Completed
}
