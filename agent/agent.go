// Package agent watches for interruptions of the machine it runs on and drains
// its node when one is announced. It is the one place that knows the order:
//
//	notice → cordon ∥ plan → move → report
//
// Each arrow is a plain value. A [Source] reads a cloud's words, a [Tracker]
// concludes a [Notice] from them, package drain makes a plan and outcomes of
// it, and a [Reporter] tells what became of it. Nothing that fails on the way
// ends the process: a failed cordon, a refused eviction or a dead sink is an
// outcome in the report.
//
// What an agent knows is in its node's annotation: killed at any moment, its
// successor goes on where it was, and what a lapsed notice left behind is
// taken back, as far as Ebbtide did it.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/drain"
)

// Node is the agent's own node, on the API server or in a dry run.
type Node interface {
	drain.Node
	drain.Marker
	drain.Balancers
	Name() string
	Get(ctx context.Context) (*corev1.Node, error)
	Watch(ctx context.Context) *drain.Feed
	Attachments(ctx context.Context) *drain.Attachments
	UndoDrain(ctx context.Context, may func(drain.State) bool) (undone bool, err error)
	Runs(ctx context.Context, pod string) (bool, error)
	Successor(notice string) drain.Successor
	Prove(ctx context.Context) error
	Missing(ctx context.Context) ([]drain.Permission, error)
}

var (
	_ Node = (*drain.Client)(nil)
	_ Node = (*drain.DryRun)(nil)
)

// Reporter tells somebody what became of a drain. It is called once a drain,
// with a context of its own; an error means that nobody was told.
type Reporter interface {
	Report(ctx context.Context, notice Notice, report drain.Report) error
}

// Noticer is a Reporter that also wants to know when a drain begins, with a
// context of its own; an error means that nobody was told.
type Noticer interface {
	Noticed(ctx context.Context, notice Notice) error
}

// Agent drains Node when one of Sources announces its end. All fields must be
// set before Run and left alone after.
type Agent struct {
	Node    Node
	Sources []Source
	// Pod is the name of the pod that the agent runs in, by which another agent of the
	// node tells whether it lives. Empty means the host's name: a pod has its own unless
	// it has its node's network, and there no two agents find the same port free.
	Pod    string
	Boot   drain.Boot
	Policy drain.Policy
	// Rules say what is done about which notice.
	Rules Rules
	// Acknowledge lets a cloud know that the node is drained, where the notice's source
	// is an Acknowledger: it may act at once then.
	Acknowledge bool
	// Critical are the pods that are handed over on an advice.
	Critical drain.Selection
	// Concurrency is how many evictions are under way at a time.
	Concurrency int
	Reporter    Reporter
	Health      *Health
	Metrics     *Metrics
	Log         *slog.Logger
	// Drills takes orders for drills; nil takes none.
	Drills *Drills

	// drill takes notes of a drill; nil in a real drain.
	drill *DrillRun
}

const (
	// cordonWait is how long moves wait for the cordon: evicting a pod while
	// its replacement may still be put here costs an eviction, waiting longer
	// costs time that nobody has.
	cordonWait = 500 * time.Millisecond
	// exclusionWait is how long a report waits for the load balancers. They may
	// have to wait themselves, for a pod that belongs to the node and serves on.
	exclusionWait = time.Second
	// reportTimeout bounds the report; the machine may be going under.
	reportTimeout = 2 * time.Second
)

// handle is the whole of Ebbtide: it empties the node for one notice or, on an advice,
// moves what is critical.
func (a *Agent) handle(ctx context.Context, notice Notice, countdown *drain.Countdown) drain.Report {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	feed := a.Node.Watch(ctx)

	cordon := a.cordon(ctx, notice, countdown)
	go a.announce(ctx, notice)
	plan, pods, err := a.plan(ctx, notice, feed, countdown)
	cordon.wait(cordonWait)
	exclusion := a.exclude(ctx, notice, pods, countdown, cordon.held)
	count := a.Metrics.begin(notice)
	report := a.move(ctx, count, plan, feed, countdown, cordon.held, exclusion)
	if err != nil {
		report.Unread = err.Error()
	}
	report.Balancers = exclusion.outcome(exclusionWait)
	report.Cordon = cordon.end()
	if notice.Advice == "" || !errors.Is(context.Cause(ctx), drain.ErrTakenOver) {
		count.reported(report)
		a.report(ctx, notice, report)
	}
	if a.drill != nil {
		stop() // the machine lives on, and its node is to be put back
	}
	exclusion.end()
	return report
}

// plan reads the node's pods and decides about each. When they could not be read
// before the time was up it returns the reason with an empty plan.
func (a *Agent) plan(
	ctx context.Context, notice Notice, feed *drain.Feed, countdown *drain.Countdown,
) (drain.Plan, []corev1.Pod, error) {
	budget, _ := countdown.Budget()
	ctx, cancel := context.WithDeadline(ctx, budget.GiveUpAt())
	defer cancel()
	pods, err := feed.Snapshot(ctx)
	budget, _ = countdown.Budget()
	plan := drain.NewPlan(a.Node.Name(), pods, budget, a.Policy)
	a.Log.Info("Planned drain", "notice", notice.ID, "deadline", plan.Deadline,
		"reserveSeconds", plan.ReserveSeconds, "moves", plan.Moves, "skips", plan.Skips)
	a.drill.planned(plan)
	return plan, pods, err
}

// move carries out the plan, counts what becomes of the pods, and tells the exclusion
// which of them are on their way.
func (a *Agent) move(
	ctx context.Context, count *drainCount, plan drain.Plan, feed *drain.Feed,
	countdown *drain.Countdown, cordoned <-chan struct{}, exclusion *exclusion,
) drain.Report {
	volumes := a.Node.Attachments(ctx)
	follow := func(uid types.UID) {
		if pod, known := feed.Pod(uid); known && a.Policy.VolumeDetach > 0 {
			volumes.Follow(ctx, pod)
		}
	}
	for _, move := range plan.Moves {
		follow(move.UID)
	}
	counting, stop := context.WithCancel(ctx)
	defer stop()
	go count.watch(counting, countdown, plan.Moves)
	notice := count.notice
	mover := &drain.Mover{
		Node: a.Node, Policy: a.Policy, Concurrency: a.Concurrency, Log: a.Log,
		Reason: string(notice.Kind), Message: whyDisrupted(notice),
		Pods: feed.Pod, Successor: a.Node.Successor(notice.ID),
		Observe: func(pod drain.PodOutcome) {
			count.observe(pod)
			exclusion.Leaves(pod.UID)
			follow(pod.UID) // it may have joined the plan
			a.logPod(ctx, pod)
			a.drill.pod(pod)
		},
	}
	report := drain.Report{}
	report.Plan, report.Pods = mover.Move(ctx, plan, feed.Changes(), feed.Budgets(), countdown, cordoned)
	report.Ended = time.Now()
	report.Volumes = a.detach(ctx, volumes, countdown)
	return report
}

// whyDisrupted tells the author of a pod why it was deleted.
func whyDisrupted(notice Notice) string {
	if notice.Kind == Drill {
		return "Ebbtide: a drill was ordered to force what an interruption would"
	}
	return "Ebbtide: the machine is being taken away"
}

// detach waits for the volumes of the pods that left to come off the machine, as long
// as time was kept for that.
func (a *Agent) detach(
	ctx context.Context, volumes *drain.Attachments, countdown *drain.Countdown,
) []drain.VolumeOutcome {
	budget, _ := countdown.Budget()
	until := time.Now().Add(a.Policy.VolumeDetach)
	if end := budget.GiveUpAt(); end.Before(until) {
		until = end
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	volumes.Wait(ctx)
	return volumes.Outcomes()
}

func (a *Agent) logPod(ctx context.Context, pod drain.PodOutcome) {
	about := []any{
		"pod", pod.String(), "path", pod.Path, "graceSeconds", pod.GraceGiven,
		"ownGraceSeconds", pod.GraceWanted, "tries", pod.Tries, "lastErr", pod.Err,
	}
	switch {
	case !pod.GoneAt.IsZero():
		a.Log.InfoContext(ctx, "Saw pod leave", about...)
	case pod.Path == drain.Lost || pod.Path == drain.CalledOff || pod.Path == drain.Spared:
		a.Log.InfoContext(ctx, "Left pod behind", about...)
	case pod.ToldByOthers:
		a.Log.InfoContext(ctx, "Saw that others had told pod to stop", about...)
	default:
		a.Log.InfoContext(ctx, "Told pod to stop", about...)
	}
}

// announce tells the reporter that a drain has begun, if it wants to know.
func (a *Agent) announce(ctx context.Context, notice Notice) {
	noticer, wants := a.Reporter.(Noticer)
	if !wants {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if err := noticer.Noticed(ctx, notice); err != nil {
		a.Log.Warn("Announced to nobody", "notice", notice.ID, "err", err)
	}
}

// report tells what became of the drain. It has a context of its own: it is
// worth most when the drain was cut short.
func (a *Agent) report(ctx context.Context, notice Notice, report drain.Report) {
	a.drill.reported(report)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
	defer cancel()
	if err := a.Reporter.Report(ctx, notice, report); err != nil {
		a.Log.Error("Reported to nobody", "notice", notice.ID, "err", err)
	}
}
