package drain

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

func TestPodsLeaveInOrder(t *testing.T) {
	t.Parallel()
	system := withPriority(systemPriority)
	cases := map[string]struct {
		policy Policy
		pods   []*corev1.Pod
		want   []string
	}{
		"stateful pods come before the others, system pods after them": {
			pods: []*corev1.Pod{newPod("dns", system), newPod("web"), newPod("db", statefulSet)},
			want: []string{"db", "web", "dns"},
		},
		"daemons come after everything where they are moved": {
			policy: Policy{DaemonSets: true},
			pods:   []*corev1.Pod{newPod("agent", daemonSet), newPod("dns", system), newPod("web"), newPod("db", claim)},
			want:   []string{"db", "web", "dns", "agent"},
		},
		"among stateful pods the longest grace counts and no priority": {
			pods: []*corev1.Pod{
				newPod("short", statefulSet, grace(10), withPriority(1000)),
				newPod("long", claim, grace(120)),
				newPod("middle", statefulSet, grace(60), withPriority(-5)),
			},
			want: []string{"long", "middle", "short"},
		},
		"among the others the priority counts and then the grace": {
			pods: []*corev1.Pod{
				newPod("low-long", withPriority(-1), grace(300)),
				newPod("none-short", grace(5)),
				newPod("high-short", withPriority(10), grace(5)),
				newPod("none-long", grace(50)),
				newPod("high-long", withPriority(10), grace(50)),
			},
			want: []string{"high-long", "high-short", "none-long", "none-short", "low-long"},
		},
		"among system pods, too": {
			pods: []*corev1.Pod{newPod("cluster", system, grace(60)), newPod("node", withPriority(systemPriority+1000))},
			want: []string{"node", "cluster"},
		},
		"names settle the rest": {
			pods: []*corev1.Pod{newPod("b"), newPod("a", namespace("x")), newPod("a", uid("2")), newPod("a", uid("1"))},
			want: []string{"a", "a", "b", "a"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := NewPlan("n", podList(c.pods...), NewBudget(noon.Add(2*time.Minute), noon), c.policy)
			got := make([]string, 0, len(plan.Moves))
			for _, move := range plan.Moves {
				got = append(got, move.Name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAMoveSaysWhatThePodNeeds(t *testing.T) {
	t.Parallel()
	budget := NewBudget(noon.Add(2*time.Minute), noon)
	after := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	policy := Policy{VolumeDetach: 12 * time.Second}
	ref := PodRef{"default", "a", "uid-a"}
	cases := map[string]struct {
		pod  *corev1.Pod
		want Move
	}{
		"an ordinary pod": {
			newPod("a"),
			Move{PodRef: ref, Action: Evict, Class: Workload, GraceSeconds: 30, ForceAt: after(85)},
		},
		"a pod with a volume keeps time for its detach": {
			newPod("a", claim, withPriority(7)),
			Move{PodRef: ref, Action: Evict, Class: Stateful, Priority: 7, GraceSeconds: 30, DetachSeconds: 12, ForceAt: after(73)},
		},
		"a pod of a StatefulSet without volumes keeps none": {
			newPod("a", statefulSet),
			Move{PodRef: ref, Action: Evict, Class: Stateful, GraceSeconds: 30, ForceAt: after(85)},
		},
		"a pod with more grace than time has its latest moment behind it": {
			newPod("a", grace(600)),
			Move{PodRef: ref, Action: Evict, Class: Workload, GraceSeconds: 600, ForceAt: after(-485)},
		},
		"a terminating pod is awaited": {
			newPod("a", terminating),
			Move{PodRef: ref, Action: Await, Class: Workload, GraceSeconds: 30, ForceAt: after(85)},
		},
		"a pod that tolerates the taint goes like any other the first time": {
			newPod("a", toleratesAll),
			Move{PodRef: ref, Action: Evict, Class: Workload, GraceSeconds: 30, ForceAt: after(85)},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := NewPlan("n", podList(c.pod), budget, policy)
			want := Plan{
				Node: "n", Deadline: budget.Deadline, ReserveSeconds: 5,
				Moves: []Move{c.want}, Skips: []Skip{},
			}
			if diff := cmp.Diff(want, plan); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPodThatIsBoundLateJoinsThePlan(t *testing.T) {
	t.Parallel()
	budget := NewBudget(noon.Add(2*time.Minute), noon)
	forceAt := noon.Add(85 * time.Second)
	cases := map[string]struct {
		pod       *corev1.Pod
		now       time.Time
		action    Action
		notBefore time.Time
		reason    SkipReason
	}{
		"an ordinary pod at once":                       {pod: newPod("a"), now: noon, action: Evict},
		"an ordinary pod at once, past its moment, too": {pod: newPod("a"), now: forceAt.Add(time.Second), action: Evict},
		"a tolerating pod at its latest moment":         {pod: newPod("a", toleratesAll), now: noon, action: Evict, notBefore: forceAt},
		"a tolerating pod at the very moment":           {pod: newPod("a", toleratesAll), now: forceAt, action: Evict, notBefore: forceAt},
		"a tolerating pod after it is left alone":       {pod: newPod("a", toleratesAll), now: forceAt.Add(1), action: Evict, reason: ReturnedPod},
		"a tolerating pod that is leaving is awaited":   {pod: newPod("a", toleratesAll, terminating), now: forceAt.Add(1), action: Await},
		"a tolerating pod of a DaemonSet is a daemon":   {pod: newPod("a", toleratesAll, daemonSet), now: noon, action: Evict, reason: DaemonSetPod},
		"a mirror pod is left, however late":            {pod: newPod("a", mirror), now: noon, action: Evict, reason: MirrorPod},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			move, reason := Join(c.pod, budget, Policy{}, c.now)
			if reason != c.reason || move.Action != c.action || !move.NotBefore.Equal(c.notBefore) {
				t.Errorf("joins as %q not before %v, reason %q; want %q, %v, %q",
					move.Action, move.NotBefore, reason, c.action, c.notBefore, c.reason)
			}
		})
	}
}

// A snapshot of a hundred shapes: what comes in comes out, once, whatever the
// order in which the API server lists it.
func TestEveryPodOfASnapshotIsEitherMovedOrSkipped(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable on purpose
			pods := make([]corev1.Pod, 0, 100)
			for i := range cap(pods) {
				pods = append(pods, *randomPod(random, fmt.Sprintf("p%d", i)))
			}
			policy := Policy{DaemonSets: seed%2 == 0, VolumeDetach: 10 * time.Second}
			if seed%3 == 0 {
				from := int32(1000)
				policy.Only = &Selection{Priority: &from}
			}
			budget := NewBudget(noon.Add(time.Duration(random.IntN(120))*time.Second), noon)
			plan := NewPlan("n", pods, budget, policy)

			times := map[types.UID]int{}
			for _, move := range plan.Moves {
				times[move.UID]++
			}
			for _, skip := range plan.Skips {
				times[skip.UID]++
				if skip.Reason == "" {
					t.Errorf("pod %q is skipped for no reason", skip.PodRef)
				}
			}
			for i := range pods {
				if n := times[pods[i].UID]; n != 1 {
					t.Errorf("pod %q is in the plan %d times", pods[i].Name, n)
				}
			}
			if len(times) != len(pods) {
				t.Errorf("%d pods made a plan of %d", len(pods), len(times))
			}

			random.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
			if diff := cmp.Diff(plan.Moves, NewPlan("n", pods, budget, policy).Moves); diff != "" {
				t.Errorf("the same pods in another order made another plan (-first +second):\n%s", diff)
			}
		})
	}
}

func randomPod(random *rand.Rand, name string) *corev1.Pod {
	owners := []trait{bare, statefulSet, daemonSet, owner("apps/v1", "ReplicaSet"), owner("batch/v1", "Job"), owner("v1", "Node")}
	phases := []corev1.PodPhase{
		corev1.PodPending, corev1.PodRunning, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown,
	}
	priorities := []int32{-10, 0, 1000, systemPriority, systemPriority + 1000}
	pod := newPod(
		name,
		owners[random.IntN(len(owners))],
		phaseOf(phases[random.IntN(len(phases))]),
		withPriority(priorities[random.IntN(len(priorities))]),
		grace(random.Int64N(4)*20),
		namespace(fmt.Sprintf("ns%d", random.IntN(3))),
	)
	for _, extra := range []trait{mirror, claim, emptyDir, terminating, toleratesAll} {
		if random.IntN(5) == 0 {
			extra(pod)
		}
	}
	return pod
}

func TestThePlanOfABusyNodeReadsAsItDid(t *testing.T) {
	t.Parallel()
	pods := podList(
		newPod("coredns-a", namespace("kube-system"), label("k8s-app", "kube-dns"), withPriority(systemPriority)),
		newPod("kube-proxy-a", namespace("kube-system"), daemonSet, withPriority(systemPriority+1000), toleratesAll),
		newPod("static-a", namespace("kube-system"), mirror, owner("v1", "Node")),
		newPod("web-a", grace(30)),
		newPod("web-b", grace(30)),
		newPod("checkout-a", withPriority(1000), grace(60)),
		newPod("db-0", namespace("data"), statefulSet, claim, grace(60)),
		newPod("cache-0", namespace("data"), statefulSet, grace(90)),
		newPod("export-a", owner("batch/v1", "Job"), emptyDir, grace(600)),
		newPod("import-a", owner("batch/v1", "Job"), phaseOf(corev1.PodSucceeded)),
		newPod("debug", bare, grace(0)),
		newPod("old-a", terminating),
	)
	policy := Policy{VolumeDetach: 12 * time.Second}
	plan := NewPlan("ip-10-0-0-7", pods, NewBudget(noon.Add(2*time.Minute), noon), policy)
	golden(t, "plan.json", plan)
}

// golden compares value, as JSON, with the file of that name in testdata, and
// writes it with -update.
func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
