package drain

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is the node as a [Mover] acts on it. Each method is one attempt; its
// error is read by [Classify].
type Node interface {
	Evict(ctx context.Context, pod PodRef, grace time.Duration) error
	Delete(ctx context.Context, pod PodRef, grace time.Duration) error
	MarkDisrupted(ctx context.Context, pod PodRef, reason, message string) error
	Announce(ctx context.Context, pod PodRef, deadline time.Time) error
}

// Mover carries out a plan: it tells every pod of it to leave, in order and in
// time, takes in pods that are bound meanwhile, and watches them go.
type Mover struct {
	Node   Node
	Policy Policy
	// Concurrency bounds how many calls are under way at a time, at least 1; how
	// many there are depends on how the API server copes. Calls at a pod's latest
	// moment may double it: they are never kept waiting by evictions that hang.
	Concurrency int
	// Reason and Message go into the DisruptionTarget condition of pods that
	// are deleted past their budget; Reason is in CamelCase.
	Reason, Message string
	Log             *slog.Logger
	// Successor hands pods over before they go; nil hands over none.
	Successor Successor
	// Pods finds a pod of the plan, or of changes, by its UID; nil finds none, and
	// then every pod counts as covered by no disruption budget.
	Pods func(types.UID) (*corev1.Pod, bool)
	// Spread returns a random part of its argument; nil takes an even one.
	Spread func(time.Duration) time.Duration
	// Observe is called in order for each pod when it is told to stop and when
	// it has its outcome, on the mover's own goroutine; nil observes nothing.
	Observe func(PodOutcome)
}

const (
	// settle is how long after the cordon another pod may still be bound: the
	// scheduler decides on what it last heard.
	settle = 2 * time.Second
	// systemLead is how long before its latest moment a system-critical pod
	// stops waiting for the others, so that its budget gets a chance.
	systemLead = 10 * time.Second
	// callTimeout bounds a call: a slow answer is no answer here.
	callTimeout = 5 * time.Second
	// contendedTimeout bounds an eviction through a budget: the API server tries
	// its write twenty times, half a second apart.
	contendedTimeout = 12 * time.Second
	// urgentTimeout bounds a call at or past a pod's latest moment, and is the
	// least that any call gets.
	urgentTimeout = time.Second
	// budgetWait is how long pods wait for the disruption budgets to be known,
	// their latest moments apart. They are read along with the pods, so that it
	// rarely matters; without it, in a simulation, a node of 24 pods under a budget
	// that allows 12 asked 12 times in vain.
	budgetWait = 300 * time.Millisecond
	// idle is how long the mover sleeps when nothing is due.
	idle = time.Hour
)

// Move carries out plan until every pod of it has an outcome, or until the
// countdown gives up on the rest, or ctx ends; see [ErrTakenOver] for that. It
// takes the plan that was made from feed's snapshot, and leaves it as it is;
// cordoned is closed when no further pod should be bound. It returns the plan
// with the pods that joined it and one outcome for each of its moves, in the
// same order.
func (m *Mover) Move(
	ctx context.Context, plan Plan, changes <-chan Change, budgets <-chan BudgetChange,
	countdown *Countdown, cordoned <-chan struct{},
) (Plan, []PodOutcome) {
	ctx, cancel := context.WithCancel(ctx)
	plan.Moves, plan.Skips = slices.Clone(plan.Moves), slices.Clone(plan.Skips)
	r := &run{
		Mover: m, plan: plan, results: make(chan result), told: make(chan *progress), handOvers: make(chan handedOver),
		limits: map[*progress]*time.Timer{}, guards: map[types.UID]*guard{}, pace: newPace(m.Concurrency),
		budgetsKnown: m.Pods == nil,
	}
	defer r.calls.Wait()
	defer cancel()

	r.hurryAt = time.Now().Add(uncordonedFor)
	if m.Pods != nil {
		r.blindUntil = time.Now().Add(budgetWait)
	}
	for i := range plan.Moves {
		r.add(plan.Moves[i])
	}
	for {
		r.catchUp(budgets)
		budget, tightened := countdown.Budget()
		now := time.Now()
		if budget.Deadline.Before(r.plan.Deadline) {
			// Compared and not only waited for: the plan is older than this
			// loop, and another event may be taken before tightened is.
			r.tighten(budget, now)
		}
		r.spare(now)
		if ctx.Err() != nil || r.finished(now) || !now.Before(budget.GiveUpAt()) {
			return r.end(ctx, budget)
		}
		r.announce(ctx, now)
		r.handOver(ctx, now)
		timer := time.NewTimer(r.start(ctx, budget, now).Sub(now))
		select {
		case change := <-changes:
			r.see(change, budget, time.Now())
		case change := <-budgets:
			r.learn(change, time.Now())
		case result := <-r.results:
			r.hear(result, time.Now())
		case result := <-r.handOvers:
			r.hearHandOver(result, time.Now())
		case p := <-r.told:
			p.wasAnnounced()
		case <-tightened:
		case <-cordoned:
			cordoned, r.cordonedAt = nil, time.Now()
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// run is one execution of a plan. Only the goroutine of Move touches it.
type run struct {
	*Mover
	plan       Plan
	moves      []*progress
	cordonedAt time.Time
	// hurryAt is when a cordon that has had no success is not waited for any more.
	hurryAt time.Time
	// inFlight counts the calls under way, guarded those of pods that may have a
	// budget.
	inFlight, guarded int
	pace              pace
	// crowded is whether others were seen at work.
	crowded bool
	results chan result
	// told gets the pods that were told the deadline, or could not be.
	told chan *progress
	// handOvers gets the ends of hand-overs.
	handOvers chan handedOver
	calls     sync.WaitGroup
	// guards are the disruption budgets of all namespaces; budgetsKnown is whether
	// they are all there, and blindUntil how long that is waited for.
	guards       map[types.UID]*guard
	budgetsKnown bool
	blindUntil   time.Time
	// limits end the evictions under way when their time is up.
	limits map[*progress]*time.Timer
}

// result is the reply to one call.
type result struct {
	sent
	of  *progress
	err error
}

// errNoReply is why an eviction is given up.
var errNoReply = errors.New("no reply in time")

func (r *run) add(move Move) {
	p := newProgress(move)
	if r.Pods != nil {
		p.pod, _ = r.Pods(move.UID)
	}
	p.handOver, p.lot = r.handOverFor(p.pod), r.spread(idle)
	p.gentle, p.advised = r.Policy.Gentle, r.Policy.Only != nil
	p.cover(r.guards)
	r.moves = append(r.moves, p)
}

func (r *run) find(pod *corev1.Pod) *progress {
	for _, p := range r.moves {
		if p.UID == pod.UID {
			return p
		}
	}
	return nil
}

// finished says whether every pod has left and none can be bound any more.
func (r *run) finished(now time.Time) bool {
	if r.cordonedAt.IsZero() || now.Before(r.cordonedAt.Add(settle)) {
		return false
	}
	return r.gone(func(*progress) bool { return true })
}

func (r *run) gone(which func(*progress) bool) bool {
	for _, p := range r.moves {
		if which(p) && p.phase != done {
			return false
		}
	}
	return true
}

// call asks the pod to leave, in a goroutine that reports to results.
func (r *run) call(ctx context.Context, p *progress, budget Budget, now time.Time) {
	call := sent{force: p.mustForce(now), grace: budget.Grace(p.Grace(), p.Detach(), now), at: now}
	if !call.force && len(p.guards) == 1 {
		call.guard = p.guards[0]
		call.guard.begin(p.Name, now)
	}
	call.contends = r.mayContend(p)
	p.begin(call)
	r.inFlight++
	if call.contends {
		r.guarded++
	}
	evicting, cancel := context.WithCancelCause(ctx)
	if !call.force {
		r.limits[p] = time.AfterFunc(p.patience(call.contends, now), func() { cancel(errNoReply) })
	}
	r.calls.Go(func() {
		defer cancel(nil)
		var err error
		if call.force {
			err = r.force(ctx, p.PodRef, call.grace)
		} else {
			err = r.Node.Evict(evicting, p.PodRef, call.grace)
		}
		select {
		case r.results <- result{of: p, sent: call, err: err}:
		case <-ctx.Done():
		}
	})
}

// force deletes the pod. The condition comes first, since nothing can be said
// of a pod that is gone, and never stands in the way.
func (r *run) force(ctx context.Context, pod PodRef, grace time.Duration) error {
	marking, cancel := context.WithTimeout(ctx, urgentTimeout)
	err := r.Node.MarkDisrupted(marking, pod, r.Reason, r.Message)
	cancel()
	if err != nil {
		r.Log.DebugContext(ctx, "Left pod without DisruptionTarget", "pod", pod.String(), "err", err)
	}
	deleting, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return r.Node.Delete(deleting, pod, grace)
}

// hear takes in the reply to a call.
func (r *run) hear(reply result, now time.Time) {
	r.inFlight--
	if reply.contends {
		r.guarded--
	}
	p := reply.of
	if limit := r.limits[p]; limit != nil {
		limit.Stop()
		delete(r.limits, p)
	}
	told, ended := p.phase == told, p.phase == done
	verdict := p.hear(reply, now)
	if reply.guard != nil {
		reply.guard.end(p.Name, verdict, now.Sub(reply.at), now, r.spread)
	}
	if reply.strains(verdict, now) {
		r.pace.strained(reply.at, now)
	} else {
		r.pace.went()
	}
	r.Log.Debug("Asked pod to leave", "pod", p.String(), "try", p.out.Tries,
		"took", now.Sub(reply.at), "force", reply.force, "grace", reply.grace, "verdict", verdict, "err", reply.err)
	r.tell(p, told, ended)
}

// see takes in what the watch shows.
func (r *run) see(change Change, budget Budget, now time.Time) {
	p := r.find(change.Pod)
	if p == nil {
		r.join(change, budget, now)
		return
	}
	told, ended := p.phase == told, p.phase == done
	p.see(change, now)
	if wasReady := p.pod != nil && ready(p.pod); r.Pods != nil {
		p.pod = change.Pod
		if ready(p.pod) != wasReady {
			p.cover(r.guards)
		}
	}
	r.tell(p, told, ended)
}

// join takes a pod into the plan that was bound after the snapshot.
func (r *run) join(change Change, budget Budget, now time.Time) {
	ref := PodRef{change.Pod.Namespace, change.Pod.Name, change.Pod.UID}
	if change.Gone || r.plan.skips(ref.UID) {
		return
	}
	move, reason := Join(change.Pod, budget, r.Policy, now)
	if reason != "" {
		r.plan.Skips = append(r.plan.Skips, Skip{PodRef: ref, Reason: reason})
		return
	}
	r.Log.Info("Pod joined the plan", "pod", ref.String(), "class", move.Class)
	r.plan.Moves = append(r.plan.Moves, move)
	r.add(move)
}

// tell passes on that a pod was told to stop or has its outcome, each once.
func (r *run) tell(p *progress, wasTold, wasDone bool) {
	if p.stopHanding != nil && (p.phase == told || p.phase == done) {
		p.stopHanding()
		p.stopHanding = nil
	}
	if r.Observe == nil || wasDone {
		return
	}
	if p.phase == done || p.phase == told && !wasTold {
		r.Observe(p.out)
	}
}

// tighten moves every pod's latest moment to the new deadline, and the end of
// every eviction under way with it.
func (r *run) tighten(budget Budget, now time.Time) {
	r.plan.Deadline = budget.Deadline
	r.plan.ReserveSeconds = budget.Reserve.Seconds()
	for i, p := range r.moves {
		p.tighten(budget)
		r.plan.Moves[i] = p.Move
		if limit := r.limits[p]; limit != nil {
			limit.Reset(p.patience(r.mayContend(p), now))
		}
	}
}

// end gives an outcome to every pod that has none yet.
func (r *run) end(ctx context.Context, budget Budget) (Plan, []PodOutcome) {
	outcomes := make([]PodOutcome, 0, len(r.moves))
	for _, p := range r.moves {
		wasDone := p.phase == done
		p.end(ctx.Err() != nil)
		r.tell(p, false, wasDone)
		outcomes = append(outcomes, p.outcome(budget))
	}
	r.giveBack(ctx)
	return r.plan, outcomes
}
