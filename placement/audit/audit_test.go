package audit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
)

// conditions renders conditions as type=status/reason, and the message.
func conditions(status v1alpha1.PlacementPolicyStatus) map[string]string {
	said := map[string]string{}
	for _, c := range status.Conditions {
		said[c.Type] = string(c.Status) + " " + c.Reason
		if c.Message != "" {
			said[c.Type] += ": " + c.Message
		}
	}
	return said
}

func TestAPolicySaysWhereItsPodsAre(t *testing.T) {
	t.Parallel()
	ending := running(t, "ending", "spot-1")
	ending.DeletionTimestamp = &metav1.Time{Time: noon}
	done := running(t, "done", "spot-1")
	done.Status.Phase = corev1.PodSucceeded
	bound := running(t, "daemon", "spot-1")
	bound.OwnerReferences[0].Kind = "DaemonSet"
	optedOut := running(t, "opted-out", "spot-1")
	optedOut.Annotations = map[string]string{placement.OverrideAnnotation: placement.OverrideAny}
	other := running(t, "other", "spot-1")
	other.Labels = map[string]string{"app": "other"}
	invalid := policy(t, "invalid", "{match: {podSelector: {matchExpressions: [{key: a, operator: Like}]}}}")

	for name, c := range map[string]struct {
		policies               []v1alpha1.PlacementPolicy
		pods                   []*corev1.Pod
		governed, spot, queued int32
		want                   map[string]string
	}{
		"when none is on spot": {
			nil,
			[]*corev1.Pod{running(t, "a", "steady-1"), waiting(t, "b", dnsOwner, 0)},
			2, 0, 1,
			map[string]string{"Accepted": "True InForce", "Safe": "True NoPodOnSpot", "Overlaps": "False Alone"},
		},
		"when some are on spot": {
			nil,
			[]*corev1.Pod{running(t, "b", "spot-1"), running(t, "a", "spot-1"), running(t, "c", "steady-1")},
			3, 2, 0,
			map[string]string{"Accepted": "True InForce", "Safe": "False PodsOnSpot: 2 of 3 pods run on spot nodes: kube-system/a, kube-system/b", "Overlaps": "False Alone"},
		},
		"when many are on spot": {
			nil,
			[]*corev1.Pod{running(t, "a", "spot-1"), running(t, "b", "spot-1"), running(t, "c", "spot-1"), running(t, "d", "spot-1")},
			4, 4, 0,
			map[string]string{"Accepted": "True InForce", "Safe": "False PodsOnSpot: 4 of 4 pods run on spot nodes: kube-system/a, kube-system/b, kube-system/c and 1 more", "Overlaps": "False Alone"},
		},
		"and counts none that is not its own or has ended": {
			nil,
			[]*corev1.Pod{ending, done, bound, optedOut, other},
			0, 0, 0,
			map[string]string{"Accepted": "True InForce", "Safe": "True NoPodOnSpot", "Overlaps": "False Alone"},
		},
		"and counts none that runs on a node that nobody knows": {
			nil,
			[]*corev1.Pod{running(t, "a", "gone")},
			1, 0, 0,
			map[string]string{"Accepted": "True InForce", "Safe": "True NoPodOnSpot", "Overlaps": "False Alone"},
		},
		"that another policy matches too": {
			[]v1alpha1.PlacementPolicy{policy(t, "weaker", "{priority: -1, match: {podSelector: {matchLabels: {app: dns}}}}")},
			[]*corev1.Pod{running(t, "a", "steady-1")},
			1, 0, 0,
			map[string]string{"Accepted": "True InForce", "Safe": "True NoPodOnSpot", "Overlaps": "True SharesPods: some pods that it governs are matched by weaker too"},
		},
		"that another policy governs": {
			[]v1alpha1.PlacementPolicy{policy(t, "stronger", "{priority: 1, match: {podSelector: {matchLabels: {app: dns}}}}")},
			[]*corev1.Pod{running(t, "a", "spot-1")},
			0, 0, 0,
			map[string]string{"Accepted": "True InForce", "Safe": "True NoPodOnSpot", "Overlaps": "True SharesPods: some pods that it matches are governed by stronger"},
		},
		"whatever another policy gets wrong": {
			[]v1alpha1.PlacementPolicy{invalid},
			[]*corev1.Pod{running(t, "a", "steady-1")},
			1, 0, 0,
			map[string]string{"Accepted": "True InForce", "Safe": "True NoPodOnSpot", "Overlaps": "False Alone"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			view := View{
				Policies: append(c.policies, policy(t, "dns", auto)),
				Nodes:    []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", steady)},
				Pods:     c.pods,
			}
			for _, finding := range Audit(view, placement.Rules{}, noon, Memory{}).Policies {
				if finding.Name != "dns" {
					continue
				}
				status := finding.Status
				if *status.Pods != c.governed || *status.OnSpot != c.spot || *status.Pending != c.queued {
					t.Errorf("%d pods, %d on spot, %d pending; want %d, %d, %d", *status.Pods, *status.OnSpot, *status.Pending, c.governed, c.spot, c.queued)
				}
				if diff := cmp.Diff(c.want, conditions(status)); diff != "" {
					t.Errorf("conditions (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// An admission policy leaves out what it cannot evaluate, such as the mode Auto: another
// policy places those pods then, or none does.
func TestWhereAdmissionPoliciesPlacePodsTheyAreThoseOfAPolicyThatIsRendered(t *testing.T) {
	t.Parallel()
	const matches = "match: {podSelector: {matchLabels: {app: dns}}}"
	for name, c := range map[string]struct {
		policies []v1alpha1.PlacementPolicy
		rendered bool
		pods     map[string]int32
		overlaps map[string]string
	}{
		"whatever its priority": {
			[]v1alpha1.PlacementPolicy{policy(t, "left-out", "{priority: 2, "+matches+"}"), policy(t, "placing", "{mode: Required, "+matches+"}")},
			true,
			map[string]int32{"left-out": 0, "placing": 1},
			map[string]string{
				"left-out": "True SharesPods: some pods that it matches are governed by placing",
				"placing":  "True SharesPods: some pods that it governs are matched by left-out too",
			},
		},
		"and else of the one that would have them": {
			[]v1alpha1.PlacementPolicy{policy(t, "left-out", "{priority: 2, "+matches+"}"), policy(t, "weaker", "{"+matches+"}")},
			true,
			map[string]int32{"left-out": 1, "weaker": 0},
			map[string]string{
				"left-out": "True SharesPods: some pods that it governs are matched by weaker too",
				"weaker":   "True SharesPods: some pods that it matches are governed by left-out",
			},
		},
		"which a webhook does not ask": {
			[]v1alpha1.PlacementPolicy{policy(t, "auto", "{priority: 2, "+matches+"}"), policy(t, "weaker", "{mode: Required, "+matches+"}")},
			false,
			map[string]int32{"auto": 1, "weaker": 0},
			map[string]string{
				"auto":   "True SharesPods: some pods that it governs are matched by weaker too",
				"weaker": "True SharesPods: some pods that it matches are governed by auto",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			view := View{
				Policies: c.policies, Rendered: c.rendered,
				Nodes: []*corev1.Node{node(t, "spot-1", spot)}, Pods: []*corev1.Pod{running(t, "a", "spot-1")},
			}
			pods, overlaps := map[string]int32{}, map[string]string{}
			for _, finding := range Audit(view, placement.Rules{}, noon, Memory{}).Policies {
				pods[finding.Name], overlaps[finding.Name] = finding.Pods, conditions(finding.Status)["Overlaps"]
			}
			if diff := cmp.Diff(c.pods, pods); diff != "" {
				t.Errorf("pods (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.overlaps, overlaps); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPolicyThatCannotBeReadSaysSo(t *testing.T) {
	t.Parallel()
	view := View{Policies: []v1alpha1.PlacementPolicy{policy(t, "wrong", "{match: {podSelector: {matchExpressions: [{key: a, operator: Like}]}}}")}}
	status := Audit(view, placement.Rules{}, noon, Memory{}).Policies[0].Status
	want := map[string]string{
		"Accepted": `False Invalid: reading the podSelector of policy "wrong": "Like" is not a valid label selector operator`,
		"Safe":     "Unknown NotInForce", "Overlaps": "False Alone",
	}
	if diff := cmp.Diff(want, conditions(status)); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	if status.Pods != nil || status.OnSpot != nil || status.Pending != nil {
		t.Error("pods are counted of a policy that is not in force")
	}
}

func TestAStatusChangesWithWhatItSaysAndNotWithTime(t *testing.T) {
	t.Parallel()
	rendered := metav1.Condition{Type: v1alpha1.ConditionRendered, Status: metav1.ConditionTrue, Reason: "Rendered"}
	dns := policy(t, "dns", auto)
	dns.Status.Conditions = []metav1.Condition{rendered}
	nodes := []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", steady)}
	at := func(now time.Time, onto string) PolicyFinding {
		view := View{Policies: []v1alpha1.PlacementPolicy{dns}, Nodes: nodes, Pods: []*corev1.Pod{running(t, "a", onto)}}
		return Audit(view, placement.Rules{}, now, Memory{}).Policies[0]
	}
	first := at(noon, "steady-1")
	if !first.Changed {
		t.Fatal("the first audit finds nothing to say")
	}
	for _, c := range first.Status.Conditions {
		if c.Type == v1alpha1.ConditionRendered {
			t.Error("it says what is another's to say")
		}
	}
	dns.Status = first.Status
	dns.Status.Conditions = append(dns.Status.Conditions, rendered)
	if at(noon.Add(time.Hour), "steady-1").Changed {
		t.Error("an hour later it has something else to say of the same pods")
	}
	moved := at(noon.Add(time.Hour), "spot-1")
	if !moved.Changed {
		t.Fatal("it says nothing of a pod that came to a spot node")
	}
	var changed []string
	for _, c := range moved.Status.Conditions {
		if c.LastTransitionTime.Equal(&metav1.Time{Time: noon.Add(time.Hour)}) {
			changed = append(changed, c.Type)
		}
	}
	if diff := cmp.Diff([]string{v1alpha1.ConditionSafe}, changed); diff != "" {
		t.Errorf("conditions with a new time (-want +got):\n%s", diff)
	}
}

func TestAnAuditLeavesTheViewAsItIs(t *testing.T) {
	t.Parallel()
	view := View{
		Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", "{rescue: true, match: {podSelector: {matchLabels: {app: dns}}}}")},
		Nodes:    []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", steady)},
		Pods:     []*corev1.Pod{running(t, "a", "spot-1"), waiting(t, "b", dnsOwner, time.Hour)},
	}
	before := View{}
	for _, p := range view.Policies {
		before.Policies = append(before.Policies, *p.DeepCopy())
	}
	for _, n := range view.Nodes {
		before.Nodes = append(before.Nodes, n.DeepCopy())
	}
	for _, p := range view.Pods {
		before.Pods = append(before.Pods, p.DeepCopy())
	}
	memory := Audit(view, placement.Rules{}, noon, Memory{}).Memory
	Audit(view, placement.Rules{}, noon, memory)
	if diff := cmp.Diff(before, view, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the view changed (-before +after):\n%s", diff)
	}
}
