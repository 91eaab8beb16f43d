package drain

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Fifty nodes with twenty pods each go at once, and nothing tells their agents of
// each other: the notices are seen within a second, since each agent asks for
// its own once a second. Half of every workload's pods are on these nodes.
func TestAStormEmptiesEveryNodeWithFewCalls(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		allowed int
		// lastTold bounds the last eviction, perPod the evictions asked for, refused
		// ones included.
		lastTold time.Duration
		perPod   float64
	}{
		// Of 2.5 requests a pod in all, 0.45 go to watches, cordons and load balancers.
		"with budgets of a fifth of the pods": {40, 30 * time.Second, 1.7},
		"with open budgets":                   {200, 15 * time.Second, 1.1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				coast := newCoast(t, 1, 50)
				for i := range 10 {
					coast.deploy(fmt.Sprintf("web%d", i), 100, 100, c.allowed)
				}
				coast.storm(time.Second, 2*time.Minute)
				told, asked := coast.check(), coast.calls()
				if told > c.lastTold {
					t.Errorf("the last pod was told after %v, want %v at most", told, c.lastTold)
				}
				if perPod := float64(asked) / float64(len(coast.pods)); perPod > c.perPod {
					t.Errorf("%.2f evictions a pod, want %.2f at most: %v", perPod, c.perPod, coast.asked)
				}
				if coast.asked[Unreachable] > 0 {
					t.Errorf("%d evictions were given up, and each has spent a disruption: %v", coast.asked[Unreachable], coast.asked)
				}
			})
		})
	}
}

// An API server that is five times as slow is what a storm makes of a small one.
func TestAStormOnASlowAPIServerGivesUpNoEviction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		coast := newCoast(t, 1, 25)
		coast.slower = 5
		for i := range 5 {
			coast.deploy(fmt.Sprintf("web%d", i), 100, 100, 40)
		}
		coast.storm(time.Second, 2*time.Minute)
		if told := coast.check(); told > 30*time.Second {
			t.Errorf("the last pod was told after %v, want 30s at most", told)
		}
		if coast.asked[Unreachable] > 0 {
			t.Errorf("%d evictions were given up, and each has spent a disruption: %v", coast.asked[Unreachable], coast.asked)
		}
	})
}

// What a budget allows is taken at once, and hardly a call is made in vain: the
// drain knows what it has used up, and the watch tells when there is more.
func TestADrainAloneWastesAtMostOneCallPerOpening(t *testing.T) {
	t.Parallel()
	const pods = 24
	for _, allowed := range []int{1, 2, 5, 12} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%d at a time, seed %d", allowed, seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					coast := newCoast(t, seed, 1)
					web := coast.deploy("web", pods, 0, allowed)
					coast.storm(0, 3*time.Minute)
					coast.check()
					if refused := coast.asked[BudgetClosed]; refused > web.openings {
						t.Errorf("%d calls were refused, and the budget opened %d times: %v", refused, web.openings, coast.asked)
					}
				})
			})
		}
	}
}

// check holds every pod to have been told in time, within its budget and with
// all of its grace, and to have ended by itself. It returns when the last was told.
func (c *coast) check() (told time.Duration) {
	c.t.Helper()
	for _, p := range c.pods {
		if p.gone.IsZero() {
			c.t.Errorf("pod %q is left on node %q", p.pod.Name, p.on.name)
		}
		told = max(told, p.told.Sub(c.began))
	}
	for _, s := range c.shores {
		for _, out := range s.outcomes {
			if out.Path != Evicted {
				c.t.Errorf("pod %q is %s, want it evicted: %+v", out.PodRef, out.Path, out)
			}
		}
	}
	if c.deleted > 0 {
		c.t.Errorf("%d pods were deleted, want none", c.deleted)
	}
	return told
}

// calls counts the evictions that were asked for.
func (c *coast) calls() int {
	n := 0
	for _, of := range c.asked {
		n += of
	}
	return n
}
