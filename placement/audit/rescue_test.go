package audit

import (
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
			handedOver(p, HandOverNotice)
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
			handedOver(v.Pods[0], HandOverNotice)
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
	memory := Memory{}.Failed(view.Pods[0], noon)
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
