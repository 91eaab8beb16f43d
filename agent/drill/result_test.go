package drill

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// The events of a drill, each a second after the last.
func events(all ...agent.DrillEvent) []agent.DrillEvent {
	for i := range all {
		all[i].At = noon.Add(time.Duration(i) * time.Second)
	}
	return all
}

func began(order agent.DrillOrder) agent.DrillEvent {
	order.Notice = time.Minute
	return agent.DrillEvent{Step: agent.DrillBegan, Drill: &agent.DrillStart{
		DrillOrder: order, ID: "drill-1", Node: "worker-1", Deadline: noon.Add(time.Minute),
	}}
}

// planned and reported are about one pod, which took path.
func planned() agent.DrillEvent { return agent.DrillEvent{Step: agent.DrillPlanned, Plan: &plan} }

func reported(path drain.Path) agent.DrillEvent {
	out := drain.PodOutcome{PodRef: web, Path: path, GraceWanted: 30}
	return agent.DrillEvent{Step: agent.DrillReported, Report: &drain.Report{Plan: plan, Pods: []drain.PodOutcome{out}}}
}

var (
	web  = drain.PodRef{Namespace: "shop", Name: "web-1", UID: "uid-web"}
	plan = drain.Plan{
		Node: "worker-1", Deadline: noon.Add(time.Minute),
		Moves: []drain.Move{{PodRef: web, Action: drain.Evict, Class: drain.Workload, GraceSeconds: 30, ForceAt: noon.Add(25 * time.Second)}},
		Skips: []drain.Skip{{PodRef: drain.PodRef{Namespace: "kube-system", Name: "proxy"}, Reason: drain.DaemonSetPod}},
	}
	putBack = agent.DrillEvent{Step: agent.DrillPutBack}
	untidy  = agent.DrillEvent{Step: agent.DrillPutBack, Err: "denied"}
	failed  = agent.DrillEvent{Step: agent.DrillFailed, Err: "connection refused"}
	taken   = agent.DrillEvent{Step: agent.DrillTakenOver, Notice: &agent.Notice{ID: "n-1", Kind: agent.SpotInterruption, Deadline: noon}}
)

func TestWhatADrillCameTo(t *testing.T) {
	t.Parallel()
	var order agent.DrillOrder
	dry := agent.DrillOrder{DryRun: true}
	cases := map[string]struct {
		events []agent.DrillEvent
		want   Outcome
	}{
		"all pods left, and the node is put back":       {events(began(order), planned(), reported(drain.Evicted), putBack), Completed},
		"the node was put back at the second try":       {events(began(order), planned(), reported(drain.Evicted), failed, putBack), Completed},
		"the node was put back, and a pod was not":      {events(began(order), planned(), reported(drain.Evicted), failed, untidy), BrokenOff},
		"a pod was spared":                              {events(began(order), planned(), reported(drain.Spared), putBack), LeftPods},
		"a pod did not end":                             {events(began(order), planned(), reported(drain.Lost), putBack), LeftPods},
		"the node was not put back":                     {events(began(order), planned(), reported(drain.Evicted), failed), BrokenOff},
		"a real notice took over":                       {events(began(order), planned(), taken, reported(drain.CalledOff)), BrokenOff},
		"its agent ended, and the next put it back":     {events(began(order), putBack), BrokenOff},
		"nothing was heard":                             {nil, ""},
		"a plan is all that a dry run wants":            {events(began(dry), planned()), Completed},
		"a dry run that could not read the pods failed": {events(began(dry), planned(), failed), BrokenOff},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var result Result
			for _, event := range c.events {
				result.Take(event)
			}
			if result.Outcome != c.want {
				t.Errorf("the outcome is %q, want %q: %+v", result.Outcome, c.want, result)
			}
		})
	}
}

func TestADrillReadsAsAStory(t *testing.T) {
	t.Parallel()
	pod := func(out drain.PodOutcome) agent.DrillEvent {
		out.PodRef = web
		return agent.DrillEvent{Step: agent.DrillPod, Pod: &out}
	}
	told := drain.PodOutcome{Path: drain.Evicted, GraceGiven: 30, ToldAt: noon}
	gone := told
	gone.GoneAt = noon
	cases := map[string]struct {
		events []agent.DrillEvent
		want   string
	}{
		"of a pod that leaves": {
			events(began(agent.DrillOrder{}), planned(), agent.DrillEvent{Step: agent.DrillCordoned}, pod(told), pod(gone), reported(drain.Evicted), putBack), `
Drill drill-1 on node worker-1, as if it had a notice of 1m0s: no disruption budget is passed, no grace is shortened.
   1.0s  planned: 1 pods to move, 1 that stay by their nature
   2.0s  node cordoned
   3.0s  shop/web-1 was told to stop, with 30 s of grace
   4.0s  shop/web-1 is gone (Evicted)
   5.0s  pods: 1 Evicted
   6.0s  node put back
`,
		},
		"of a pod that stays": {
			events(began(agent.DrillOrder{Force: true}), pod(drain.PodOutcome{Path: drain.Spared}), reported(drain.Spared), failed), `
Drill drill-1 on node worker-1, as if it had a notice of 1m0s: with force, past disruption budgets.
   1.0s  shop/web-1 is still here (Spared)
   2.0s  pods: 1 Spared
         still here: shop/web-1: nothing would have let it go in time with all of its 30 s of grace
   3.0s  failed: connection refused
`,
		},
		"of a real notice": {
			events(began(agent.DrillOrder{}), taken, reported(drain.CalledOff)), `
Drill drill-1 on node worker-1, as if it had a notice of 1m0s: no disruption budget is passed, no grace is shortened.
   1.0s  broken off by a real notice: SpotInterruption, "n-1", due 2026-03-01T12:00:00Z. Its drain goes on from here, and nothing is put back
   2.0s  pods: 1 CalledOff
         still here: shop/web-1: the drill was broken off
`,
		},
		"of a pod that is left untidy": {
			events(began(agent.DrillOrder{}), reported(drain.Evicted), failed, untidy), `
Drill drill-1 on node worker-1, as if it had a notice of 1m0s: no disruption budget is passed, no grace is shortened.
   1.0s  pods: 1 Evicted
   2.0s  failed: connection refused
   3.0s  node put back, but not all that was done to its pods; the agent goes on trying: denied
`,
		},
		"of a plan": {
			events(began(agent.DrillOrder{DryRun: true}), planned()), `
Plan for node worker-1, as if it had a notice of 1m0s. Nothing is touched.
   1.0s  planned: 1 pods to move, 1 that stay by their nature
POD                ACTION  CLASS         GRACE  AT THE LATEST
shop/web-1         Evict   Workload      30s    after 25s
kube-system/proxy  stays   DaemonSetPod         
`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var page strings.Builder
			text := NewText(&page)
			for _, event := range c.events {
				text.Tell(event)
			}
			if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), page.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
