package drain

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Drains of clusters in which anything may go wrong at any moment. Whatever
// happens, every move ends in exactly one outcome that is true, and in time.
func TestEveryMoveEndsInExactlyOneOutcome(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // repeatable on purpose
				cluster := newCluster(t)
				d := randomDrill(random, cluster)
				plan, outcomes := cluster.drain(t.Context(), d)
				over := time.Now()
				budget, _ := d.countdown.Budget()
				if late := over.Sub(budget.GiveUpAt()); late > 0 && over.After(cluster.began) {
					t.Errorf("the drain ended %v after it should have given up", late)
				}
				if limit := 2 * d.concurrency; cluster.busiest > limit {
					t.Errorf("%d calls at a time, want %d at most", cluster.busiest, limit)
				}
				checkOnce(t, plan, outcomes, d.observed)
				for _, out := range outcomes {
					checkTrue(t, cluster, out)
				}
			})
		})
	}
}

// randomDrill fills cluster, with more to come, and returns how to drain it.
func randomDrill(random *rand.Rand, cluster *cluster) *drill {
	seconds := func(n int) time.Duration { return time.Duration(random.IntN(n*1000)) * time.Millisecond }
	d := &drill{
		notice:      10*time.Second + seconds(110),
		policy:      Policy{DaemonSets: random.IntN(2) == 0, VolumeDetach: seconds(15)},
		concurrency: 1 + random.IntN(8), cordonedAfter: seconds(3),
	}
	d.countdown = NewCountdown(NewBudget(cluster.began.Add(d.notice), cluster.began))
	if random.IntN(3) == 0 {
		nearer := cluster.began.Add(d.notice/2 + seconds(5))
		time.AfterFunc(seconds(int(d.notice/time.Second)/2), func() { d.countdown.Tighten(nearer, time.Now()) })
	}
	budgets := []*allowance{nil, closed(), {opens: []time.Duration{seconds(20), seconds(40), seconds(80)}}}
	for i := range 2 + random.IntN(20) {
		r := &resident{
			pod: randomPod(random, fmt.Sprintf("p%d", i)), ends: seconds(60),
			budget: budgets[random.IntN(len(budgets))], fault: randomFaults(random),
		}
		switch random.IntN(6) {
		case 0:
			time.AfterFunc(seconds(30), func() { cluster.bind(r) })
		case 1:
			time.AfterFunc(seconds(30), func() { cluster.finish(r) })
			fallthrough
		default:
			cluster.run(r)
		}
	}
	return d
}

// randomFaults returns faults that are drawn anew for each call.
func randomFaults(random *rand.Rand) func(string, int) fault {
	replies := []error{
		budgetClosed(), budgetStale(), budgetContended(), budgetFailedSync(), twoBudgets(), errUnavailable, namespaceEnding(),
		deniedByPolicy(), webhookUnreachable(), forbiddenByRBAC(), plainText(401, 0, ""), plainText(429, 7, ""), plainText(503, 0, ""),
	}
	share, own := random.IntN(3)*40, rand.New(rand.NewPCG(random.Uint64(), 3)) //nolint:gosec // repeatable on purpose
	return func(string, int) fault {
		if own.IntN(100) >= share {
			return fault{}
		}
		err := replies[own.IntN(len(replies))]
		if errors.Is(err, errUnavailable) {
			return fault{err: err, hang: own.IntN(2) == 0, lost: own.IntN(2) == 0}
		}
		return fault{err: err}
	}
}

// checkOnce holds the outcomes to the plan: one for each move, in its order, and
// told to the observer once.
func checkOnce(t *testing.T, plan Plan, outcomes, observed []PodOutcome) {
	t.Helper()
	if len(outcomes) != len(plan.Moves) {
		t.Fatalf("%d moves have %d outcomes", len(plan.Moves), len(outcomes))
	}
	decided := map[types.UID]int{}
	for i, move := range plan.Moves {
		decided[move.UID]++
		if outcomes[i].PodRef != move.PodRef {
			t.Errorf("the outcome of pod %q is that of %q", move.PodRef, outcomes[i].PodRef)
		}
	}
	for _, skip := range plan.Skips {
		decided[skip.UID]++
	}
	for uid, n := range decided {
		if n != 1 {
			t.Errorf("pod %q is in the plan %d times", uid, n)
		}
	}
	ended := map[types.UID]int{}
	for _, out := range observed {
		if !out.GoneAt.IsZero() || out.Path == Lost {
			ended[out.UID]++
		}
	}
	for _, move := range plan.Moves {
		if ended[move.UID] != 1 {
			t.Errorf("the end of pod %q was told %d times", move.PodRef, ended[move.UID])
		}
	}
}

// checkTrue holds an outcome to what the cluster knows of the pod.
func checkTrue(t *testing.T, cluster *cluster, out PodOutcome) {
	t.Helper()
	r := cluster.gone[out.UID]
	if r == nil {
		r = cluster.pods[out.String()]
	}
	ended := !r.goneAt.IsZero() || r.pod.Status.Phase == corev1.PodSucceeded || r.pod.Status.Phase == corev1.PodFailed
	given := time.Duration(out.GraceGiven) * time.Second
	switch out.Path {
	case HandedOver:
		t.Errorf("pod %q was handed over by nobody: %+v", out.PodRef, out)
	case Lost:
		if ended && !r.goneAt.Equal(time.Now()) {
			t.Errorf("pod %q is reported lost and is gone: %+v", out.PodRef, out)
		}
		return
	case Evicted:
		if r.verb != "evict" || given != ownGrace(r.pod) {
			t.Errorf("pod %q was told to %s with %v of %v: %+v", out.PodRef, r.verb, r.grace, ownGrace(r.pod), out)
		}
	case Clamped:
		if r.verb != "evict" || given >= ownGrace(r.pod) {
			t.Errorf("pod %q was told to %s with %v of %v: %+v", out.PodRef, r.verb, r.grace, ownGrace(r.pod), out)
		}
	case Forced:
		if r.verb != "delete" || !r.disrupted {
			t.Errorf("pod %q was told to %s, with DisruptionTarget: %v: %+v", out.PodRef, r.verb, r.disrupted, out)
		}
	case Finished, AlreadyGone:
		if r.verb != "" && r.verb != "others" {
			t.Errorf("pod %q went because of our %s: %+v", out.PodRef, r.verb, out)
		}
	case Spared:
		t.Errorf("pod %q was spared by a drain that is not gentle", out.PodRef)
	case CalledOff:
		t.Errorf("pod %q was called off by nobody", out.PodRef)
	}
	if !ended || out.GoneAt.IsZero() {
		t.Errorf("pod %q is %s, and gone: %v", out.PodRef, out.Path, ended)
	}
	if !out.ToldAt.IsZero() && given != r.grace {
		t.Errorf("pod %q is reported with %v and got %v", out.PodRef, given, r.grace)
	}
	if out.Err != "" {
		t.Errorf("pod %q has gone, and is reported with %q", out.PodRef, out.Err)
	}
}
