package main

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestPodsPastTheirBudgetAreThoseThatItDidNotAllow(t *testing.T) {
	t.Parallel()
	deletion := func(seconds float64, pod string, code int) lab.Request {
		return lab.Request{Time: at(seconds), Verb: "delete", Resource: "pods", Name: pod, Code: code}
	}
	eviction := func(seconds float64, pod string, code int) lab.Request {
		return lab.Request{Time: at(seconds), Verb: "create", Resource: "pods", Subresource: "eviction", Name: pod, Code: code}
	}
	sight := func(seconds float64, budget string, allowed int) budgetSight {
		return budgetSight{at(seconds), budget, allowed}
	}
	stopped := func(name string) lab.PodRecord { return told(name, 30, 1, 31, lab.Exited) }
	lost := func(name string) lab.PodRecord { return told(name, untold, 0, 60, lab.Lost) }
	three := []lab.PodRecord{lost("web-1"), lost("web-2"), lost("web-3")}

	cases := map[string]struct {
		records  []lab.PodRecord
		requests []lab.Request
		sights   []budgetSight
		want     int
	}{
		"a pod deleted while its budget was closed": {
			[]lab.PodRecord{stopped("web-1")}, []lab.Request{deletion(30, "web-1", 200)}, []budgetSight{sight(-1, "web-0", 0)}, 1,
		},
		"a pod deleted while its budget was open": {
			[]lab.PodRecord{stopped("web-1")}, []lab.Request{deletion(30, "web-1", 200)}, []budgetSight{sight(-1, "web-0", 1)}, 0,
		},
		"a budget that closed later does not matter": {
			[]lab.PodRecord{stopped("web-1")},
			[]lab.Request{deletion(30, "web-1", 200)},
			[]budgetSight{sight(-1, "web-0", 1), sight(30.1, "web-0", 0)},
			0,
		},
		"two pods deleted at once where one was allowed": {
			[]lab.PodRecord{stopped("web-1"), stopped("web-2")},
			[]lab.Request{deletion(30, "web-1", 200), deletion(30.01, "web-2", 200)},
			[]budgetSight{sight(-1, "web-0", 1)},
			1,
		},
		"two pods deleted one after another, each allowed": {
			[]lab.PodRecord{stopped("web-1"), stopped("web-2")},
			[]lab.Request{deletion(30, "web-1", 200), deletion(40, "web-2", 200)},
			[]budgetSight{sight(-1, "web-0", 1), sight(30.1, "web-0", 0), sight(35, "web-0", 1)},
			0,
		},
		"an evicted pod, which the API server allowed": {
			[]lab.PodRecord{stopped("web-1")}, []lab.Request{eviction(30, "web-1", 201)}, []budgetSight{sight(-1, "web-0", 0)}, 0,
		},
		"a pod evicted first and deleted then": {
			[]lab.PodRecord{stopped("web-1")},
			[]lab.Request{eviction(30, "web-1", 201), deletion(31, "web-1", 200)},
			[]budgetSight{sight(-1, "web-0", 0)},
			0,
		},
		"a pod whose eviction was refused, and that was deleted then": {
			[]lab.PodRecord{stopped("web-1")},
			[]lab.Request{eviction(30, "web-1", 429), deletion(31, "web-1", 200)},
			[]budgetSight{sight(-1, "web-0", 0)},
			1,
		},
		"a deletion that was refused": {
			[]lab.PodRecord{stopped("web-1")}, []lab.Request{deletion(30, "web-1", 409)}, []budgetSight{sight(-1, "web-0", 0)}, 0,
		},
		"pods lost together beyond what was allowed": {three, nil, []budgetSight{sight(-1, "web-0", 1)}, 2},
		"pods lost together that were all allowed":   {three, nil, []budgetSight{sight(-1, "web-0", 3)}, 0},
		"a status that does not know of the losses yet": {
			three, nil, []budgetSight{sight(-1, "web-0", 1), sight(60, "web-0", 1)}, 2,
		},
		"a pod lost on its way out has left its budget before": {
			[]lab.PodRecord{told("web-1", 55, 30, 60, lab.Lost)},
			[]lab.Request{eviction(55, "web-1", 201)},
			[]budgetSight{sight(-1, "web-0", 0)},
			0,
		},
		"a pod of two budgets counts once": {
			three[:1], nil, []budgetSight{sight(-1, "web-0", 0), sight(-1, "web-1", 0)}, 1,
		},
		"the budget of somebody else": {three, nil, []budgetSight{sight(-1, "db-0", 0)}, 0},
		"no budget at all":            {three, nil, nil, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := play(30*time.Second, c.records...)
			e.requests, e.budgets = c.requests, c.sights
			if got := e.pastBudget(); got != c.want {
				t.Errorf("%d pods, want %d", got, c.want)
			}
		})
	}
}
