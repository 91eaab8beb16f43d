package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// It is not parallel: requests that are told again because the machine is busy
// with other tests would be counted as the drain's.
func TestADrainOfFortyPodsWithOpenBudgetsCostsAboutOneRequestAPod(t *testing.T) {
	s := newScene(t, lab.Shared(t))
	s.run(40, pods{name: "web", replicas: 40}.manifest(s), budget("web", "web", "maxUnavailable", "100%"))
	a := s.ready()
	before := len(s.requests())
	s.interrupt(40 * time.Second)
	report := s.report(a, 45*time.Second)

	requests := slices.DeleteFunc(s.requests()[before:], func(r lab.Request) bool { return r.Resource == "events" })
	if most := 1.3 * 40; float64(len(requests)) > most {
		t.Errorf("the drain took %d requests, want at most %.0f", len(requests), most)
	}
	t.Logf("%d requests for 40 pods, cordoned after %s, drained after %s", len(requests),
		report.Cordon.Done.Sub(s.noticed), report.Ended.Sub(s.noticed))
	if got := report.Count(drain.Evicted); got != 40 {
		t.Errorf("%d pods took the path Evicted, want 40: %+v", got, report.Pods)
	}
	s.noneLost()
	s.toldOnce()
}

func TestAPodBehindAClosedBudgetKeepsServingUntilItsLatestMomentAndThenGetsAllOfItsGrace(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "single", replicas: 1, grace: 8 * time.Second, exits: 6 * time.Second, asks: stays}.manifest(s),
		budget("single", "single", "minAvailable", "1"))
	pod := s.watchPod("single")
	a := s.ready()
	s.interrupt(24 * time.Second)
	report := s.report(a, 30*time.Second)

	// 24 s of notice, 3 s of reserve and 8 s of grace leave 13 s.
	told := s.life("single").ToldAt.Sub(s.noticed)
	if told < 12*time.Second || told > 15*time.Second {
		t.Errorf("the pod was told to stop after %s, want about 13s", told)
	}
	got := outcome(t, report, "single")
	if got.Path != drain.Forced || got.GraceGiven != 8 {
		t.Errorf("the pod took the path %s with %d s of grace, want %s with 8 s", got.Path, got.GraceGiven, drain.Forced)
	}
	if !pod.disrupted() {
		t.Error("the pod was deleted without the condition DisruptionTarget")
	}
	s.noneLost()
	s.toldOnce()
}

func TestAPodUnderTwoBudgetsIsDeletedAtOnceBecauseNoWaitingHelps(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(2, pods{name: "twice", replicas: 2}.manifest(s),
		budget("one", "twice", "maxUnavailable", "1"), budget("two", "twice", "maxUnavailable", "1"))
	a := s.ready()
	s.interrupt(30 * time.Second)
	report := s.report(a, 35*time.Second)

	if got := report.Count(drain.Forced); got != 2 {
		t.Errorf("%d pods took the path Forced, want 2: %+v", got, report.Pods)
	}
	if told := s.life("twice").ToldAt.Sub(s.noticed); told > 4*time.Second {
		t.Errorf("the pod was told to stop after %s, want at once", told)
	}
	s.noneLost()
	s.toldOnce()
}

func TestAPodWithMoreGraceThanTheMachineHasIsToldAtOnceWithWhatIsLeft(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "long", replicas: 1, grace: 5 * time.Minute, exits: 10 * time.Second}.manifest(s))
	a := s.ready()
	s.interrupt(25 * time.Second)
	report := s.report(a, 30*time.Second)

	got := outcome(t, report, "long")
	if got.Path != drain.Clamped || got.GraceGiven < 19 || got.GraceGiven > 22 {
		t.Errorf("the pod took the path %s with %d s of grace, want %s with the 22 s of 25 less the second that polling takes",
			got.Path, got.GraceGiven, drain.Clamped)
	}
	s.noneLost()
}

func TestAStaleBudgetIsAskedAgainSoonAndForcedInTime(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	s := newScene(t, l)
	s.run(3, pods{name: "web", replicas: 3, grace: 4 * time.Second}.manifest(s))
	a := s.ready()
	// Nobody observes a budget that is made while its controller is away.
	s.must(l.Stop(lab.ControllerManager))
	s.must(l.Apply(t.Context(), s.namespace, budget("web", "web", "maxUnavailable", "3")))
	s.interrupt(30 * time.Second)
	s.must(l.WaitNode(s.within(5*time.Second), s.doomed.Name(), cordoned))
	s.must(l.Restart(t.Context(), lab.ControllerManager))
	report := s.report(a, 30*time.Second)

	stale := 0
	for _, r := range s.requests() {
		if r.Subresource == "eviction" && r.Code == 429 {
			stale++
		}
	}
	if stale == 0 {
		t.Error("no eviction met the stale budget")
	}
	if got := report.Count(drain.Evicted); got != 3 {
		t.Errorf("%d pods took the path Evicted, want 3: %+v", got, report.Pods)
	}
	s.noneLost()
	s.toldOnce()
}

func TestANamesakeOnAnotherNodeSurvives(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	// The pod comes back under its name on the refuge while its neighbour is
	// still waiting behind a closed budget.
	s.run(3, pods{name: "db", kind: "StatefulSet", replicas: 2, grace: 3 * time.Second}.manifest(s),
		pods{name: "blocked", replicas: 1, grace: 4 * time.Second, asks: stays}.manifest(s),
		budget("blocked", "blocked", "minAvailable", "1"))
	a := s.ready()
	s.interrupt(22 * time.Second)
	s.report(a, 25*time.Second)

	s.noneLost()
	s.toldOnce()
	s.must(s.lab.WaitPods(s.within(20*time.Second), s.namespace, "app=db", lab.AllReady(2)))
	for _, record := range s.lab.Records() {
		if record.Namespace == s.namespace && record.Node != s.doomed.Name() && record.End != lab.Running {
			t.Errorf("pod %s on %s ended as %s, want it to run on", record.Name, record.Node, record.End)
		}
	}
}

func TestPodsLeaveInOrderAndWhatBelongsToTheNodeStays(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(6,
		pods{name: "dns", replicas: 1, labels: "app.kubernetes.io/component: webhook"}.manifest(s),
		pods{name: "web", replicas: 2, exits: 3 * time.Second}.manifest(s),
		pods{name: "db", kind: "StatefulSet", replicas: 1}.manifest(s),
		pods{name: "bare", kind: "Pod"}.manifest(s),
		pods{name: "node-agent", kind: "DaemonSet"}.manifest(s))
	a := s.ready()
	s.interrupt(40 * time.Second)
	report := s.report(a, 45*time.Second)

	lives := map[string]lab.PodRecord{}
	for _, name := range []string{"dns", "web", "db", "bare", "node-agent"} {
		lives[name] = s.life(name)
	}
	if !lives["dns"].ToldAt.After(lives["web"].EndedAt) {
		t.Error("the webhook was told to stop before the pods that may need it had ended")
	}
	if first := s.lives(); first[0].Name != lives["node-agent"].Name || !first[0].ToldAt.IsZero() {
		t.Error("the DaemonSet's pod was told to stop")
	}
	if len(report.Plan.Skips) != 1 || report.Plan.Skips[0].Reason != drain.DaemonSetPod {
		t.Errorf("the plan skips %+v, want the DaemonSet's pod", report.Plan.Skips)
	}
	if !report.Complete() {
		t.Errorf("pods were left behind: %+v", report.Pods)
	}
}

func TestTheNodeStaysBehindItsLoadBalancersWhileItServes(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: edge}\n" +
		"spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: edge}, ports: [{port: 80}]}\n"
	s.run(1, pods{name: "edge", replicas: 1, grace: 4 * time.Second, asks: stays}.manifest(s),
		budget("edge", "edge", "minAvailable", "1"), service)
	a := s.ready()
	s.interrupt(40 * time.Second)
	s.must(s.lab.WaitNode(s.within(5*time.Second), s.doomed.Name(), cordoned))
	if _, excluded := s.node().Labels[drain.ExcludeLabel]; excluded {
		t.Error("the node left its load balancers with the cordon, while its pod served")
	}
	report := s.report(a, 45*time.Second)
	if report.Balancers.Reason != drain.Excluded {
		t.Errorf("the exclusion ended as %+v, want %s", report.Balancers, drain.Excluded)
	}
	// The pod is forced at 33 s; the label does not wait longer than 20 s
	// before the deadline.
	if at := report.Balancers.At.Sub(s.noticed); at < 19*time.Second || at > 23*time.Second {
		t.Errorf("the node left its load balancers after %s, want 20s", at)
	}
	s.noneLost()
}

func TestADryRunChangesNothingAndReportsWhatItWouldHaveDone(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(4, pods{name: "web", replicas: 3}.manifest(s),
		pods{name: "single", replicas: 1, grace: 3 * time.Second, asks: stays}.manifest(s), budget("single", "single", "minAvailable", "1"))
	a := s.ready("--dry-run")
	s.imds.Interrupt("terminate", time.Now().Add(20*time.Second))
	report := s.report(a, 25*time.Second)

	if evicted, forced := report.Count(drain.Evicted), report.Count(drain.Forced); evicted != 3 || forced != 1 {
		t.Errorf("the rehearsal evicted %d and forced %d pods, want 3 and 1: %+v", evicted, forced, report.Pods)
	}
	if node := s.node(); node.Spec.Unschedulable || !clean(node) {
		t.Errorf("the node was changed: %+v", node.Spec)
	}
	for _, record := range s.lives() {
		if !record.ToldAt.IsZero() {
			t.Errorf("pod %s was told to stop", record.Name)
		}
	}
	for _, r := range s.requests() {
		writes := r.Verb == "patch" || r.Verb == "delete" || r.Verb == "create" && r.Resource == "pods"
		if writes && !r.DryRun {
			t.Errorf("a request was no rehearsal: %+v", r)
		}
	}
}

func TestAPodBoundAfterTheSnapshotJoinsThePlan(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "blocked", replicas: 1, grace: 4 * time.Second, asks: stays}.manifest(s), budget("blocked", "blocked", "minAvailable", "1"))
	a := s.ready()
	s.interrupt(25 * time.Second)
	_, err := a.WaitLog(s.within(5*time.Second), "Planned drain")
	s.must(err)
	// Straight onto the node, past the scheduler: as a binding that was under
	// way when the cordon came.
	s.must(s.lab.Apply(t.Context(), s.namespace, pods{name: "late", kind: "Pod", spec: "nodeName: " + s.doomed.Name()}.manifest(s)))
	report := s.report(a, 30*time.Second)

	if got := outcome(t, report, "late"); got.Path != drain.Evicted {
		t.Errorf("the late pod took the path %s, want %s", got.Path, drain.Evicted)
	}
	s.noneLost()
}

func TestAPodThatAsksIsToldTheDeadlineBeforeItIsToldToStop(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "trainer", replicas: 1, asks: drain.DeadlineAnnotation + `: ""`}.manifest(s))
	pod := s.watchPod("trainer")
	a := s.ready()
	s.interrupt(30 * time.Second)
	s.report(a, 35*time.Second)

	<-pod.done
	told, err := time.Parse(time.RFC3339, pod.told)
	if err != nil {
		t.Fatalf("the pod was told %q: %v", pod.told, err)
	}
	if off := told.Sub(s.noticed.Add(30 * time.Second)).Abs(); off > 3*time.Second {
		t.Errorf("the pod was told a moment that is %s off", off)
	}
	s.noneLost()
}
