package drill

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

// Text tells a drill to a person, line by line as it happens. What cannot be written is
// lost: if nobody reads it any more, there is nobody left to tell.
type Text struct {
	to    io.Writer
	began time.Time
	dry   bool
	// told holds the pods that were told to stop, so that their end reads as such.
	told map[drain.PodRef]bool
}

// NewText returns a Text that writes to to.
func NewText(to io.Writer) *Text { return &Text{to: to, told: map[drain.PodRef]bool{}} }

func (t *Text) say(format string, args ...any) { _, _ = fmt.Fprintf(t.to, format, args...) }

// line is said with the time since the drill began.
func (t *Text) line(at time.Time, format string, args ...any) {
	t.say("%6.1fs  %s\n", at.Sub(t.began).Seconds(), fmt.Sprintf(format, args...))
}

// Tell tells one event.
func (t *Text) Tell(event agent.DrillEvent) {
	switch event.Step {
	case agent.DrillBegan:
		t.begin(event)
	case agent.DrillPlanned:
		t.line(event.At, "planned: %d pods to move, %d that stay by their nature", len(event.Plan.Moves), len(event.Plan.Skips))
		if t.dry {
			t.plan(*event.Plan)
		}
	case agent.DrillCordoned:
		t.line(event.At, "node cordoned")
	case agent.DrillPod:
		t.pod(event.At, *event.Pod)
	case agent.DrillReported:
		t.report(event.At, *event.Report)
	case agent.DrillFailed:
		t.line(event.At, "failed: %s", event.Err)
	case agent.DrillTakenOver:
		t.line(event.At, "broken off by a real notice: %s, %q, due %s. Its drain goes on from here, and nothing is put back",
			event.Notice.Kind, event.Notice.ID, event.Notice.Deadline.UTC().Format(time.RFC3339))
	case agent.DrillPutBack:
		if event.Err != "" {
			t.line(event.At, "node put back, but not all that was done to its pods; the agent goes on trying: %s", event.Err)
			return
		}
		t.line(event.At, "node put back")
	}
}

func (t *Text) begin(event agent.DrillEvent) {
	t.began, t.dry = event.At, event.Drill.DryRun
	switch {
	case event.Drill.Resumed:
		t.say("Drill %s on node %s was cut short by the end of its agent; this one puts the node back.\n", event.Drill.ID, event.Drill.Node)
		return
	case t.dry:
		t.say("Plan for node %s, as if it had a notice of %s. Nothing is touched.\n", event.Drill.Node, event.Drill.Notice)
		return
	}
	manner := "no disruption budget is passed, no grace is shortened"
	if event.Drill.Force {
		manner = "with force, past disruption budgets"
	}
	t.say("Drill %s on node %s, as if it had a notice of %s: %s.\n", event.Drill.ID, event.Drill.Node, event.Drill.Notice, manner)
}

func (t *Text) pod(at time.Time, pod drain.PodOutcome) {
	switch {
	case !pod.GoneAt.IsZero():
		t.line(at, "%s is gone (%s)", pod, pod.Path)
	case pod.Path == drain.Spared || pod.Path == drain.Lost || pod.Path == drain.CalledOff:
		t.line(at, "%s is still here (%s)", pod, pod.Path)
	case !t.told[pod.PodRef]:
		t.told[pod.PodRef] = true
		t.line(at, "%s was told to stop, with %d s of grace", pod, pod.GraceGiven)
	}
}

// plan tells every pod of a plan and what would be done with it.
func (t *Text) plan(plan drain.Plan) {
	table := tabwriter.NewWriter(t.to, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "POD\tACTION\tCLASS\tGRACE\tAT THE LATEST")
	for _, move := range plan.Moves {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%ds\t%s\n", move.PodRef, move.Action, move.Class, move.GraceSeconds, latest(move, t.began))
	}
	for _, skip := range plan.Skips {
		_, _ = fmt.Fprintf(table, "%s\tstays\t%s\t\t\n", skip.PodRef, skip.Reason)
	}
	_ = table.Flush()
}

// latest says when a pod has to be told to stop, seen from the beginning.
func latest(move drain.Move, began time.Time) string {
	if after := move.ForceAt.Sub(began); after > 0 {
		return fmt.Sprintf("after %.0fs", after.Seconds())
	}
	return "at once, with less grace than its own"
}

// report tells what became of the pods, and why some are still here.
func (t *Text) report(at time.Time, report drain.Report) {
	counts := make([]string, 0, len(drain.Paths))
	for _, path := range drain.Paths {
		if n := report.Count(path); n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, path))
		}
	}
	if len(counts) == 0 {
		counts = []string{"there were none to move"}
	}
	t.line(at, "pods: %s", strings.Join(counts, ", "))
	if report.Unread != "" {
		t.line(at, "the pods could not be read: %s", report.Unread)
	}
	for i, pod := range report.Pods {
		if pod.Path == drain.Spared || pod.Path == drain.Lost || pod.Path == drain.CalledOff {
			t.say("         still here: %s: %s\n", pod, why(report.Plan.Moves[i], pod))
		}
	}
}

// why says why a pod is still here.
func why(move drain.Move, pod drain.PodOutcome) string {
	switch {
	case pod.Path == drain.CalledOff:
		return "the drill was broken off"
	case !pod.ToldAt.IsZero():
		return "it was told to stop and has not ended in time"
	case pod.Err != "":
		return pod.Err
	case pod.Tries == 0 && pod.Path == drain.Spared:
		return fmt.Sprintf("nothing would have let it go in time with all of its %d s of grace", move.GraceSeconds)
	}
	return "the API server took no call in time"
}
