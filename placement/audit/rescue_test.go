package audit

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/placement"
)

const rescuing = "{rescue: true, match: {podSelector: {matchLabels: {app: dns}}}}"

func rendered(_ *testing.T, v *View) { v.Rendered = true }

// at puts the pod into a namespace, and the program into its own.
func at(namespace, own string) func(*testing.T, *View) {
	return func(_ *testing.T, v *View) { v.Pods[0].Namespace, v.OwnNamespace = namespace, own }
}

func TestAPodIsRescued(t *testing.T) {
	t.Parallel()
	change := func(with func(*corev1.Pod)) func(*testing.T, *View) {
		return func(_ *testing.T, v *View) { with(v.Pods[0]) }
	}
	nodes := func(texts ...string) func(*testing.T, *View) {
		return func(t *testing.T, v *View) {
			t.Helper()
			v.Nodes = v.Nodes[:1]
			for i, text := range texts {
				v.Nodes = append(v.Nodes, node(t, "steady-"+string(rune('1'+i)), text))
			}
		}
	}
	for name, c := range map[string]struct {
		spec   string
		change func(*testing.T, *View) // of one pod on spot beside two long-lived nodes with room
		want   bool
	}{
		"when the policy says so":                        {rescuing, nil, true},
		"and not when it does not":                       {auto, nil, false},
		"by a preference, onto the only node":            {rescuing, nodes(steady), true},
		"and not while no long-lived node has room":      {rescuing, nodes(full, full), false},
		"and not while there is none":                    {rescuing, nodes(), false},
		"and not onto a node that is cordoned":           {rescuing, nodes("{" + steady + ", spec: {unschedulable: true}}"), false},
		"and not onto a taint that it does not tolerate": {rescuing, nodes("{" + steady + ", spec: {taints: [{key: dedicated, effect: NoSchedule}]}}"), false},
		"onto a taint that the policy tolerates": {
			"{rescue: true, tolerations: [{key: dedicated}], match: {podSelector: {matchLabels: {app: dns}}}}",
			nodes("{" + steady + ", spec: {taints: [{key: dedicated, effect: NoSchedule}]}}"), true,
		},
		"and not when its author chose spot": {rescuing, change(func(p *corev1.Pod) {
			p.Spec.NodeSelector = map[string]string{"karpenter.sh/capacity-type": "spot"}
		}), false},
		"and not when it is not Ready": {rescuing, change(func(p *corev1.Pod) {
			p.Status.Conditions[0].Status = corev1.ConditionFalse
		}), false},
		"and not without a controller": {rescuing, change(func(p *corev1.Pod) { p.OwnerReferences = nil }), false},
		"and not of a Job":             {rescuing, change(func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "Job" }), false},
		"of a StatefulSet":             {rescuing, change(func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "StatefulSet" }), true},
		"and not while an agent hands it over": {rescuing, change(func(p *corev1.Pod) {
			handedOver(p, "an interruption")
		}), false},
		"in the end, when a leader before has begun": {rescuing, change(func(p *corev1.Pod) {
			handedOver(p, drain.RescueNotice)
		}), true},
		"and not off a node that an agent empties": {rescuing, func(_ *testing.T, v *View) {
			v.Nodes[0].Spec.Taints = []corev1.Taint{{Key: drain.TaintKey, Effect: corev1.TaintEffectNoSchedule}}
		}, false},
		"and not while another pod of its workload waits": {rescuing, func(t *testing.T, v *View) {
			t.Helper()
			v.Pods = append(v.Pods, waiting(t, "b", dnsOwner, 0))
		}, false},
		"and not while another pod of its workload ends": {rescuing, func(t *testing.T, v *View) {
			t.Helper()
			ending := running(t, "b", "steady-1")
			ending.DeletionTimestamp = &metav1.Time{Time: noon}
			v.Pods = append(v.Pods, ending)
		}, false},
		"and not while its workload was let in because it waited": {rescuing, func(t *testing.T, v *View) {
			t.Helper()
			v.Pods[0].CreationTimestamp = metav1.NewTime(noon)
			v.Pods[0].Annotations = map[string]string{placement.DecisionAnnotation: placement.Record{
				Policy: "dns", Outcome: placement.PlacedPreferred, Reason: placement.PendingBefore,
			}.String()}
		}, false},
		// Its replacement would come to any node, and it would be disturbed again and again.
		"and not where an admission policy would not place its replacement": {rescuing, rendered, false},
		"nor where that is for its own annotation alone": {rescuing, func(t *testing.T, v *View) {
			t.Helper()
			rendered(t, v)
			v.Pods[0].Annotations = map[string]string{placement.OverrideAnnotation: placement.OverrideLongLived}
		}, false},
		"where an admission policy requires long-lived nodes": {
			"{rescue: true, mode: Required, match: {podSelector: {matchLabels: {app: dns}}}}", rendered, true,
		},
		"and where it knows that their number grows": {
			"{rescue: true, longLivedPool: Autoscaled, match: {podSelector: {matchLabels: {app: dns}}}}", rendered, true,
		},
		// Nobody places pods there, so that its replacement would come to any node.
		"and not in the program's own namespace": {rescuing, at("ebbtide", "ebbtide"), false},
		"nor there where an admission policy places pods": {
			"{rescue: true, mode: Required, match: {podSelector: {matchLabels: {app: dns}}}}",
			func(t *testing.T, v *View) {
				t.Helper()
				rendered(t, v)
				at("ebbtide", "ebbtide")(t, v)
			}, false,
		},
		"beside the program's own namespace":               {rescuing, at("shop", "ebbtide"), true},
		"in the program's own, where that is the system's": {rescuing, at("kube-system", "kube-system"), true},
		"in the program's own, to the end, when a leader before has begun": {rescuing, func(t *testing.T, v *View) {
			t.Helper()
			handedOver(v.Pods[0], drain.RescueNotice)
			at("ebbtide", "ebbtide")(t, v)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			view := View{
				Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", c.spec)},
				Nodes:    []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", steady), node(t, "steady-2", steady)},
				Pods:     []*corev1.Pod{running(t, "a", "spot-1")},
			}
			if c.change != nil {
				c.change(t, &view)
			}
			if got := Audit(view, placement.Rules{}, noon, Memory{}).Rescue != nil; got != c.want {
				t.Errorf("rescued is %t, want %t", got, c.want)
			}
		})
	}
}

// handedOver makes the pod one that is handed over.
func handedOver(pod *corev1.Pod, notice string) {
	pod.Labels[drain.HandedOverKey] = "5d"
	pod.Annotations = map[string]string{drain.HandedOverKey: `{"hash": "5d", "replicaSet": "dns-5d", "notice": "` + notice + `"}`}
	pod.OwnerReferences[0].Kind, pod.OwnerReferences[0].Name, pod.OwnerReferences[0].UID = "Deployment", "dns", "deployment"
}

func TestThePodOfTheStrongestPolicyIsRescuedFirst(t *testing.T) {
	t.Parallel()
	other := running(t, "a", "spot-1")
	other.Labels, other.OwnerReferences[0].UID = map[string]string{"app": "web"}, "web"
	view := View{
		Policies: []v1alpha1.PlacementPolicy{
			policy(t, "web", "{rescue: true, match: {podSelector: {matchLabels: {app: web}}}}"),
			policy(t, "zz-dns", "{priority: 1, rescue: true, match: {podSelector: {matchLabels: {app: dns}}}}"),
		},
		Nodes: []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", steady)},
		Pods:  []*corev1.Pod{other, running(t, "c", "spot-1"), running(t, "b", "spot-1")},
	}
	got := Audit(view, placement.Rules{}, noon, Memory{}).Rescue
	if got == nil || got.Pod.Name != "b" || got.Policy != "zz-dns" {
		t.Errorf("rescued %+v first, want b of zz-dns", got)
	}
}

func TestAfterAFailedRescueThereIsAPause(t *testing.T) {
	t.Parallel()
	other := running(t, "other", "spot-1")
	other.OwnerReferences[0].UID = "other"
	view := View{
		Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", rescuing)},
		Nodes:    []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", steady)},
		Pods:     []*corev1.Pod{running(t, "dns", "spot-1"), other},
	}
	memory, _ := Memory{}.Failed(view.Pods[0], BudgetClosed, noon)
	for after, want := range map[time.Duration]string{
		0: "", failurePause - time.Second: "", failurePause: "other", workloadPause - time.Second: "other", workloadPause: "dns",
	} {
		got := ""
		if rescue := Audit(view, placement.Rules{}, noon.Add(after), memory).Rescue; rescue != nil {
			got = rescue.Pod.Name
		}
		if got != want {
			t.Errorf("after %s it rescues %q, want %q", after, got, want)
		}
	}
}

func TestAWorkloadIsLeftAloneForLongerEachTimeThatItWasDisturbedForNothing(t *testing.T) {
	t.Parallel()
	const soon = time.Minute // after its pause it is tried again
	for name, c := range map[string]struct {
		ends []Moved
		want []time.Duration // after each of them
	}{
		"up to some hours": {
			slices.Repeat([]Moved{OnSpotAgain}, 7),
			[]time.Duration{10 * time.Minute, 20 * time.Minute, 40 * time.Minute, 80 * time.Minute, 160 * time.Minute, 4 * time.Hour, 4 * time.Hour},
		},
		"whichever way": {
			[]Moved{NoReplacement, OnSpotAgain, NoReplacement},
			[]time.Duration{10 * time.Minute, 20 * time.Minute, 40 * time.Minute},
		},
		"and as long as ever when it was left in peace": {
			[]Moved{BudgetClosed, Postponed, Failed, BudgetClosed},
			slices.Repeat([]time.Duration{10 * time.Minute}, 4),
		},
		"which does not make up for it": {
			[]Moved{OnSpotAgain, OnSpotAgain, BudgetClosed, OnSpotAgain},
			[]time.Duration{10 * time.Minute, 20 * time.Minute, 10 * time.Minute, 40 * time.Minute},
		},
		"until it is moved": {
			[]Moved{OnSpotAgain, OnSpotAgain, Evicted, OnSpotAgain},
			[]time.Duration{10 * time.Minute, 20 * time.Minute, 0, 10 * time.Minute},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stranded := running(t, "a", "spot-1")
			view := View{
				Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", rescuing)},
				Nodes:    []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", steady)},
				Pods:     []*corev1.Pod{stranded},
			}
			now, memory := noon, Memory{}
			for i, end := range c.ends {
				if end.OK() {
					memory = memory.Rescued(stranded)
					continue
				}
				var pause time.Duration
				memory, pause = memory.Failed(stranded, end, now)
				if pause != c.want[i] {
					t.Fatalf("after %v the pause is %s, want %s", c.ends[:i+1], pause, c.want[i])
				}
				early := Audit(view, placement.Rules{}, now.Add(pause-time.Second), memory)
				if early.Rescue != nil {
					t.Fatalf("after %v it is moved before the pause of %s is over", c.ends[:i+1], pause)
				}
				now = now.Add(pause + soon)
				late := Audit(view, placement.Rules{}, now, early.Memory)
				if late.Rescue == nil {
					t.Fatalf("after %v it is not moved when the pause of %s is over", c.ends[:i+1], pause)
				}
				memory = late.Memory
			}
		})
	}
}

func TestAPodThatALeaderBeforeHandedOverIsNotLeftSoForHours(t *testing.T) {
	t.Parallel()
	begun, memory := running(t, "a", "spot-1"), Memory{}
	handedOver(begun, drain.RescueNotice)
	for try := range 5 {
		var pause time.Duration
		if memory, pause = memory.Failed(begun, NoReplacement, noon); pause != workloadPause {
			t.Errorf("after try %d the pause is %s, want %s", try+1, pause, workloadPause)
		}
	}
}

func TestWhatWentWrongWithAWorkloadIsForgottenInTheEnd(t *testing.T) {
	t.Parallel()
	stranded := running(t, "a", "spot-1")
	memory, first := Memory{}.Failed(stranded, OnSpotAgain, noon)
	for after, want := range map[time.Duration]time.Duration{
		first + longestPause - time.Second: 2 * workloadPause, first + longestPause: workloadPause,
	} {
		now := noon.Add(after)
		learned := Audit(View{}, placement.Rules{}, now, memory).Memory
		if _, pause := learned.Failed(stranded, OnSpotAgain, now); pause != want {
			t.Errorf("after %s the next pause is %s, want %s", after, pause, want)
		}
	}
}
