package drain

import (
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestAPodIsLeftAloneForOneReason(t *testing.T) {
	t.Parallel()
	daemons := Policy{DaemonSets: true}
	cases := map[string]struct {
		pod    *corev1.Pod
		policy Policy
		want   SkipReason
	}{
		"a pod of a ReplicaSet is moved":                        {pod: newPod("a")},
		"a bare pod is moved, since it dies with the machine":   {pod: newPod("a", bare)},
		"a pod of a Job is moved":                               {pod: newPod("a", owner("batch/v1", "Job"))},
		"a pod with an emptyDir is moved":                       {pod: newPod("a", emptyDir)},
		"a pending pod is moved":                                {pod: newPod("a", phaseOf(corev1.PodPending))},
		"a pod of unknown phase is moved":                       {pod: newPod("a", phaseOf(corev1.PodUnknown))},
		"a terminating pod is a move, which is only watched":    {pod: newPod("a", terminating)},
		"a mirror pod is left to the kubelet":                   {pod: newPod("a", mirror), want: MirrorPod},
		"a pod that the node owns is left to the kubelet":       {pod: newPod("a", owner("v1", "Node")), want: MirrorPod},
		"a Node of another API group owns an ordinary pod":      {pod: newPod("a", owner("example.com/v1", "Node"))},
		"a pod that succeeded is left":                          {pod: newPod("a", phaseOf(corev1.PodSucceeded)), want: FinishedPod},
		"a pod that failed is left":                             {pod: newPod("a", phaseOf(corev1.PodFailed)), want: FinishedPod},
		"a pod of a DaemonSet is left":                          {pod: newPod("a", daemonSet), want: DaemonSetPod},
		"a pod of a DaemonSet is moved where the policy asks":   {pod: newPod("a", daemonSet), policy: daemons},
		"a DaemonSet of another API group owns an ordinary pod": {pod: newPod("a", owner("apps.kruise.io/v1", "DaemonSet"))},
		"a mirror pod that finished is a mirror pod":            {pod: newPod("a", mirror, phaseOf(corev1.PodFailed)), want: MirrorPod},
		"a pod of a DaemonSet that failed has finished":         {pod: newPod("a", daemonSet, phaseOf(corev1.PodFailed)), want: FinishedPod},
		"no policy moves a mirror pod":                          {pod: newPod("a", mirror), policy: daemons, want: MirrorPod},
	}
	budget := NewBudget(noon.Add(2*time.Minute), noon)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, got := decide(c.pod, budget, c.policy); got != c.want {
				t.Errorf("reason is %q, want %q", got, c.want)
			}
		})
	}
}

func TestAPodLeavesWithItsClass(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		pod  *corev1.Pod
		want Class
	}{
		"a pod of a ReplicaSet":                    {newPod("a"), Workload},
		"a bare pod":                               {newPod("a", bare), Workload},
		"a pod with an emptyDir":                   {newPod("a", emptyDir), Workload},
		"a pod of a StatefulSet":                   {newPod("a", statefulSet), Stateful},
		"a pod of somebody else's StatefulSet":     {newPod("a", owner("apps.kruise.io/v1", "StatefulSet")), Workload},
		"a pod with a claim":                       {newPod("a", claim), Stateful},
		"a pod with an ephemeral claim":            {newPod("a", ephemeralClaim), Stateful},
		"a pod just under the system's priorities": {newPod("a", withPriority(systemPriority-1)), Workload},
		"a cluster-critical pod":                   {newPod("a", withPriority(systemPriority)), System},
		"a node-critical pod":                      {newPod("a", withPriority(systemPriority+1000)), System},
		"DNS":                                      {newPod("a", namespace("kube-system"), label("k8s-app", "kube-dns")), System},
		"a pod that only looks like DNS":           {newPod("a", label("k8s-app", "kube-dns")), Workload},
		"another pod of kube-system":               {newPod("a", namespace("kube-system")), Workload},
		"an admission webhook":                     {newPod("a", label("app.kubernetes.io/component", "webhook")), System},
		"a critical pod of a StatefulSet":          {newPod("a", statefulSet, withPriority(systemPriority)), System},
		"a critical pod of a DaemonSet":            {newPod("a", daemonSet, withPriority(systemPriority)), Daemon},
		"a pod of a DaemonSet with a claim":        {newPod("a", daemonSet, claim), Daemon},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := classify(c.pod); got != c.want {
				t.Errorf("class is %q, want %q", got, c.want)
			}
		})
	}
}

func TestAPodsOwnGraceIsAtLeastASecond(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		pod  *corev1.Pod
		want time.Duration
	}{
		"what it asks for":                   {newPod("a", grace(45)), 45 * time.Second},
		"the API server's default":           {newPod("a"), 30 * time.Second},
		"a second instead of none":           {newPod("a", grace(0)), time.Second},
		"a second instead of less than none": {newPod("a", grace(-1)), time.Second},
		"a century at most":                  {newPod("a", grace(math.MaxInt64)), maxGrace},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ownGrace(c.pod); got != c.want {
				t.Errorf("grace is %v, want %v", got, c.want)
			}
		})
	}
}

func TestAPodThatToleratesBothTaintsMayComeBack(t *testing.T) {
	t.Parallel()
	const exists, noSchedule = corev1.TolerationOpExists, corev1.TaintEffectNoSchedule
	ours := toleration(corev1.Toleration{Key: TaintKey, Operator: exists})
	cordon := toleration(corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: exists, Effect: noSchedule})
	cases := map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"a pod without tolerations does not":          {newPod("a"), false},
		"a pod that tolerates everything does":        {newPod("a", toleratesAll), true},
		"one that tolerates both by name does":        {newPod("a", ours, cordon), true},
		"one that tolerates only the cordon does not": {newPod("a", cordon), false},
		"one that tolerates only our taint does not":  {newPod("a", ours), false},
		"one that tolerates one kind of notice does":  {newPod("a", cordon, toleration(corev1.Toleration{Key: TaintKey, Value: "SpotInterruption"})), true},
		"one that tolerates every NoSchedule does":    {newPod("a", toleration(corev1.Toleration{Operator: exists, Effect: noSchedule})), true},
		"one that tolerates every NoExecute does not": {newPod("a", toleration(corev1.Toleration{Operator: exists, Effect: corev1.TaintEffectNoExecute})), false},
		"one that tolerates all that is like it not":  {newPod("a", toleration(corev1.Toleration{Key: "example.com/spot", Operator: exists})), false},
		"an empty key needs the operator to mean all": {newPod("a", toleration(corev1.Toleration{})), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := toleratesInterruption(c.pod); got != c.want {
				t.Errorf("may come back: %v, want %v", got, c.want)
			}
		})
	}
}
