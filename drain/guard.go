package drain

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	// firstAtOnce and mostAtOnce bound how many evictions of one disruption
	// budget are under way at a time. The API server serialises them by
	// conflicts: a handful is faster than one, many are slower than a handful.
	firstAtOnce = 2
	mostAtOnce  = 10
	// slowReply is when a reply shows that evictions got in each other's way:
	// the API server sleeps half a second after each conflict.
	slowReply = 450 * time.Millisecond
	// firstProbe and mostProbe are how long a closed budget that nobody has
	// touched is believed; it doubles with each probe that finds it closed.
	firstProbe = 2 * time.Second
	mostProbe  = 16 * time.Second
	// asleep is when a call without a reply is taken to sleep after a conflict, and
	// to be in nobody's way. The API server reads the budgets from its cache, which
	// hears every 100 ms at the latest that it is up to date: all that wait for that
	// read the same, one of them writes first, and the others sleep.
	asleep = 120 * time.Millisecond
	// mostUnseen is how long the watch may take to show an eviction.
	mostUnseen = time.Second
	// firstWindow and mostWindow bound the time over which agents that want the
	// same budget spread their next try. In a simulation of 50 agents that see their
	// notice within a second, with 100 pods for 40 disruptions, windows from 250 ms
	// cost 68 refusals a budget and windows from 1 s cost 40, and end 1 s later.
	firstWindow = time.Second
	mostWindow  = 4 * time.Second
)

// guard is one PodDisruptionBudget as a drain uses it: what the API server says
// of it, and how the drain's own calls fare with it. Many agents may share one
// budget, and there is nobody to tell them apart: each listens for others before
// it speaks and learns from refusals and slow replies, as stations on one cable
// do. It takes no clock.
type guard struct {
	namespace  string
	selector   labels.Selector
	generation int64

	// current is whether its controller has seen its newest form; allowed is
	// what it then allows, and changed when that was last heard.
	current bool
	allowed int32
	changed time.Time
	// tight is whether it allows none even when all its pods are healthy, and
	// closedSince when it last began to allow none.
	tight       bool
	closedSince time.Time

	// limit is how many calls may be under way, and passed how many passed since
	// limit was last changed; underWay are those that are, and when they began.
	limit, passed int
	underWay      map[string]time.Time
	// probe is how long a closed budget is believed, probed the last try.
	probe  time.Duration
	probed time.Time
	// asked are the pods that this drain asked for, by name, and whether the
	// watch has shown that the budget let them go; unseen are those that it let
	// go, and when, and the watch has not shown.
	asked  map[string]bool
	unseen map[string]time.Time
	// window is the time to spread tries over, zero while there is no sign of
	// others; hold is the end of the present wait.
	window time.Duration
	hold   time.Time
	// foreign is whether it was seen to let go a pod that this drain did not ask for,
	// or was short of healthy pods before the drain asked for any.
	foreign bool
}

// newGuard reads a budget. One that is short of healthy pods before anything was
// asked of it has others at work.
func newGuard(pdb *policyv1.PodDisruptionBudget, now time.Time, spread func(time.Duration) time.Duration) *guard {
	g := &guard{
		namespace: pdb.Namespace, generation: -1, limit: firstAtOnce, probe: firstProbe,
		underWay: map[string]time.Time{}, asked: map[string]bool{}, unseen: map[string]time.Time{},
	}
	g.learn(pdb, now, spread)
	if pdb.Status.CurrentHealthy < pdb.Status.ExpectedPods {
		g.share(now, spread)
	}
	return g
}

// learn takes in what the API server shows of the budget and says whether it may
// cover other pods now. When it has just opened, everybody who was refused before
// would come at once: their tries are spread, and by then the watch may show who
// was faster. spread returns a random part of its argument.
func (g *guard) learn(
	pdb *policyv1.PodDisruptionBudget, now time.Time, spread func(time.Duration) time.Duration,
) (moved bool) {
	if moved = g.generation != pdb.Generation; moved {
		selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
		if err != nil {
			// The API server lets none pass that cannot be read.
			selector = labels.Nothing()
		}
		g.selector, g.generation = selector, pdb.Generation
	}
	g.recognise(pdb.Status.DisruptedPods, now, spread)
	wasShut := g.allowed <= 0
	g.current = pdb.Status.ObservedGeneration >= pdb.Generation
	g.tight = g.current && pdb.Status.ExpectedPods <= pdb.Status.DesiredHealthy
	g.changed = now
	g.allow(pdb.Status.DisruptionsAllowed-int32(len(g.unseen)), now) //nolint:gosec // no more than the pods of a node
	if wasShut && g.allowed > 0 && g.window > 0 {
		g.hold = latest(g.hold, now.Add(spread(g.window)))
	}
	return moved
}

// recognise tells this drain's own evictions from those of others among the pods
// that a budget has let go and its controller has not counted yet. The watch is
// behind the replies: without the books of its own a drain would take what it
// shows for more than there is.
func (g *guard) recognise(
	disrupted map[string]metav1.Time, now time.Time, spread func(time.Duration) time.Duration,
) {
	for name := range disrupted {
		if _, ours := g.asked[name]; !ours {
			g.share(now, spread)
			continue
		}
		g.asked[name] = true
		delete(g.unseen, name)
	}
	for name, at := range g.unseen {
		// A pod that was not ready costs the budget nothing and is never shown, nor
		// is what a watch that had to start anew has missed.
		if now.Sub(at) > mostUnseen {
			delete(g.unseen, name)
		}
	}
}

// allow notes what the budget allows now.
func (g *guard) allow(disruptions int32, now time.Time) {
	if disruptions <= 0 && (g.allowed > 0 || g.closedSince.IsZero()) {
		g.closedSince = now
	}
	g.allowed = disruptions
}

// closed says whether the budget is known to allow none.
func (g *guard) closed() bool { return g.current && g.allowed <= 0 }

// blocks says whether it is of no use to wait for the budget: it cannot open by
// itself, or it has been closed for long.
func (g *guard) blocks(now time.Time) bool {
	return g.closed() && (g.tight || now.Sub(g.closedSince) >= blockedFor)
}

// covers says whether the budget guards the pod.
func (g *guard) covers(pod *corev1.Pod) bool {
	return g.namespace == pod.Namespace && g.selector.Matches(labels.Set(pod.Labels))
}

// next says when a pod of the budget may be asked next; a moment that has come
// means now, as far as there is room.
func (g *guard) next() time.Time {
	if g.closed() {
		return latest(g.hold, latest(g.changed, g.probed).Add(g.probe))
	}
	return g.hold
}

// shared says whether there are signs that others use the budget too.
func (g *guard) shared() bool { return g.window > 0 }

// room says whether another call may begin now, and if not, when that may change
// without a reply or any news.
func (g *guard) room(now time.Time) (room bool, again time.Time) {
	limit, sleepers := g.limit, true
	switch {
	case !g.current, g.allowed <= 0:
		// Nobody knows, or it is known: the same will be said to every one of them.
		limit, sleepers = 1, false
	case g.shared():
		// One that sleeps comes back, and is in somebody's way then.
		sleepers = false
	}
	again = far(now)
	if len(g.underWay) >= min(mostAtOnce, int(max(1, g.allowed))) {
		return false, again
	}
	busy := 0
	for _, began := range g.underWay {
		sleeps := began.Add(asleep)
		if sleepers && !sleeps.After(now) {
			continue
		}
		if busy++; sleepers {
			again = earliest(again, sleeps)
		}
	}
	return busy < limit, again
}

// begin notes that a call for the pod of that name begins.
func (g *guard) begin(name string, now time.Time) {
	g.underWay[name] = now
	g.probed = now
	g.asked[name] = false
}

// end takes in the reply to the call for the pod of that name, which took as long
// as took.
func (g *guard) end(name string, verdict Verdict, took time.Duration, now time.Time, spread func(time.Duration) time.Duration) {
	delete(g.underWay, name)
	shared := g.shared()
	switch verdict {
	case Accepted:
		// One more for each round that passed as a whole.
		if g.passed++; took < slowReply && g.passed >= g.limit {
			g.limit, g.passed = min(g.limit+1, mostAtOnce), 0
		}
		if g.window /= 2; g.window < firstWindow/2 {
			g.window = 0
		}
		g.probe = firstProbe
		if !g.asked[name] {
			// What the watch will say in a moment.
			g.unseen[name] = now
			g.allow(max(0, g.allowed-1), now)
		}
	case BudgetClosed:
		if g.current && g.allowed <= 0 {
			g.probe = min(2*g.probe, mostProbe)
		}
		g.allow(0, now)
		g.changed = now
		g.widen(now, spread)
	case BudgetContended:
		g.widen(now, spread)
		took = max(took, slowReply)
	case BudgetStale:
		g.hold = latest(g.hold, now.Add(staleDelay))
	case Gone, OtherPod, BudgetNeverOpens, NamespaceEnding, Denied, Unauthorized, Overloaded, Unreachable:
	}
	switch {
	case took < slowReply:
	case shared || verdict == BudgetContended:
		g.limit, g.passed = max(1, g.limit/2), 0
	default:
		// The conflict was with the budget's controller or another call of this
		// drain, and has cost nobody else anything.
		g.passed = 0
	}
}

// share notes that others were seen to use the budget too, and begins to spread tries.
func (g *guard) share(now time.Time, spread func(time.Duration) time.Duration) {
	g.foreign = true
	if g.window == 0 {
		g.window = firstWindow
		g.hold = now.Add(spread(g.window))
	}
}

// widen spreads the next tries of all who were refused over more time.
func (g *guard) widen(now time.Time, spread func(time.Duration) time.Duration) {
	g.window = min(max(firstWindow, 2*g.window), mostWindow)
	g.hold = now.Add(spread(g.window))
}
