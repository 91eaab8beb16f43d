package drain

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
)

// first tells of the budgets that there are at first.
func first(pdbs ...*policyv1.PodDisruptionBudget) func(*cluster) {
	return func(c *cluster) {
		for _, pdb := range pdbs {
			c.budgets <- BudgetChange{PDB: pdb}
		}
		c.budgets <- BudgetChange{}
	}
}

// The cluster's own budget of these pods never opens, whatever the watch shows of
// it; a notice of two minutes brings a pod's latest moment after 85 s.
func TestADrainFollowsTheBudgetsThatTheWatchShows(t *testing.T) {
	t.Parallel()
	const s, ms = time.Second, time.Millisecond
	show := func(pdb *policyv1.PodDisruptionBudget) func(*cluster) {
		return func(c *cluster) { c.budgets <- BudgetChange{PDB: pdb} }
	}
	remove := func(pdb *policyv1.PodDisruptionBudget) func(*cluster) {
		return func(c *cluster) { c.budgets <- BudgetChange{PDB: pdb, Gone: true} }
	}
	other := allowing(3, func(pdb *policyv1.PodDisruptionBudget) { pdb.Name, pdb.UID = "other", types.UID("uid-pdb-other") })
	cases := map[string]struct {
		opens  []time.Duration
		events map[time.Duration]func(*cluster)
		want   story
		tries  int
	}{
		"evicted at once through an open one":          {[]time.Duration{0}, map[time.Duration]func(*cluster){0: first(allowing(1))}, story{Evicted, 0, s, 30 * s}, 1},
		"evicted when it is shown open, without a try": {[]time.Duration{0}, map[time.Duration]func(*cluster){0: first(allowing(0)), 1500 * ms: show(allowing(1))}, story{Evicted, 1500 * ms, 2500 * ms, 30 * s}, 1},
		"probed in silence, ever more seldom":          {nil, map[time.Duration]func(*cluster){0: first(allowing(0))}, story{Forced, 85 * s, 86 * s, 30 * s}, 8},
		"deleted without a try behind two":             {nil, map[time.Duration]func(*cluster){0: first(allowing(3), other)}, story{Forced, 0, s, 30 * s}, 1},
		"deleted when a second one is made":            {nil, map[time.Duration]func(*cluster){0: first(allowing(0)), s: show(other)}, story{Forced, s, 2 * s, 30 * s}, 1},
		"evicted when the only one is removed":         {[]time.Duration{s}, map[time.Duration]func(*cluster){0: first(allowing(0)), s: remove(allowing(0))}, story{Evicted, s, 2 * s, 30 * s}, 1},
		"asked after a moment where none is known":     {[]time.Duration{0}, map[time.Duration]func(*cluster){}, story{Evicted, budgetWait, budgetWait + s, 30 * s}, 1},
		"asked at once where all are known":            {[]time.Duration{0}, map[time.Duration]func(*cluster){0: first()}, story{Evicted, 0, s, 30 * s}, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sc := scene{
					drill:  drill{guarded: true},
					pods:   []*resident{{pod: newPod("p", label("app", "web")), budget: &allowance{opens: c.opens}, ends: s}},
					events: c.events, want: map[string]story{"p": c.want},
				}
				_, _, outcomes := sc.play(t)
				if outcomes[0].Tries != c.tries {
					t.Errorf("asked %d times, want %d", outcomes[0].Tries, c.tries)
				}
			})
		})
	}
}

func TestAFeedTellsWhenAllBudgetsAreKnown(t *testing.T) {
	t.Parallel()
	feed := newFeed(t.Context())
	web, other := allowing(1), newPDB("other", 1)
	for _, told := range [][]any{{web, other}, {web}} {
		// The second is a watch that had to start anew.
		if err := feed.guards.Replace(told, "1"); err != nil {
			t.Fatal(err)
		}
	}
	var got []BudgetChange
	for len(feed.Budgets()) > 0 {
		got = append(got, <-feed.Budgets())
	}
	want := []BudgetChange{{PDB: web}, {PDB: other}, {}, {PDB: other, Gone: true}, {PDB: web}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestAPodAtItsLatestMomentWaitsForNoBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sc := scene{
			drill: drill{notice: 30 * time.Second, guarded: true},
			// Four pods want the one probe that a closed budget takes.
			pods: crowd(4, func(r *resident) {
				label("app", "web")(r.pod)
				r.budget, r.ends = closed(), time.Second
			}),
			events: map[time.Duration]func(*cluster){0: first(allowing(0))},
			want:   crowdStory(4, story{Forced, 0, time.Second, 27 * time.Second}),
		}
		sc.play(t)
	})
}

func TestACallIsChosenOnTheNewestOfTheBudgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cluster := newCluster(t)
		for i := range 5 {
			cluster.run(&resident{
				pod: newPod(fmt.Sprintf("p%d", i), label("app", "web")), ends: time.Second,
				budget: &allowance{opens: []time.Duration{0}},
			})
		}
		first()(cluster)
		cluster.budgets <- BudgetChange{PDB: allowing(1)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		cluster.drain(ctx, &drill{notice: 2 * time.Minute, concurrency: 5, guarded: true})
		if cluster.calls != 1 {
			t.Errorf("%d calls were made for the one disruption that is allowed", cluster.calls)
		}
	})
}

func TestAStaleBudgetIsAskedAgainAfterAPauseAndNotAtOnce(t *testing.T) {
	t.Parallel()
	g := newGuard(allowing(1, stale), noon, atOnce)
	g.calls(atOnce, reply{BudgetStale, 0})
	if next := g.next(); next.Before(noon.Add(staleDelay)) {
		t.Errorf("asked again %s later, want %s", next.Sub(noon), staleDelay)
	}
}

func TestAPodThatIsNotReadyIsHeldBackByNoBudget(t *testing.T) {
	t.Parallel()
	guards := map[types.UID]*guard{"a": newGuard(allowing(0), noon, atOnce)}
	for condition, want := range map[corev1.ConditionStatus]int{corev1.ConditionTrue: 1, corev1.ConditionFalse: 0} {
		pod := newPod("web-0", label("app", "web"))
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: condition}}
		p := &progress{pod: pod}
		p.cover(guards)
		if len(p.guards) != want {
			t.Errorf("ready %s: %d budgets hold it back, want %d", condition, len(p.guards), want)
		}
	}
}
