package audit

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// noon is when the tests audit.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// policy makes a policy from the YAML of its spec.
func policy(t testing.TB, name, spec string) v1alpha1.PlacementPolicy {
	t.Helper()
	made := placementtest.Policy(t, name, spec)
	made.Generation = 7
	return made
}

// node makes a Ready node with room for ten pods; text may say otherwise.
func node(t testing.TB, name, text string) *corev1.Node {
	t.Helper()
	made := &corev1.Node{Status: corev1.NodeStatus{
		Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		Allocatable: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")},
	}}
	placementtest.Read(t, text, made)
	made.Name = name
	return made
}

const (
	spot   = "metadata: {labels: {karpenter.sh/capacity-type: spot}}"
	steady = "metadata: {labels: {karpenter.sh/capacity-type: on-demand}}"
	full   = "{" + steady + ", status: {allocatable: {pods: 0}}}"
)

// dnsOwner makes a pod one of the ReplicaSet of a Deployment called dns.
const dnsOwner = "ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: dns-5d, uid: dns, controller: true}]"

// pod makes a pod with the label app=dns; metadata and spec are the fields in YAML.
func pod(t testing.TB, name, metadata, spec string) *corev1.Pod {
	t.Helper()
	made := &corev1.Pod{}
	placementtest.Read(t, "{metadata: {labels: {app: dns}, "+metadata+"}, spec: {"+spec+"}}", made)
	made.Namespace, made.Name, made.UID = "kube-system", name, types.UID("uid-of-"+name)
	made.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.com/dns:1"}}
	made.Status.Phase = corev1.PodPending
	return made
}

// running makes a Ready pod of dns on a node.
func running(t testing.TB, name, onto string) *corev1.Pod {
	t.Helper()
	made := pod(t, name, dnsOwner, "nodeName: "+onto)
	made.Status = corev1.PodStatus{
		Phase:      corev1.PodRunning,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	return made
}

// waiting makes a pod that our requirements were added to and that the scheduler has
// found no node for.
func waiting(t testing.TB, name, metadata string, waited time.Duration) *corev1.Pod {
	t.Helper()
	made := pod(t, name, metadata, "")
	required := policy(t, "required", "{mode: Required, match: {podSelector: {matchLabels: {app: dns}}}}")
	policies, rejections := placement.Compile([]v1alpha1.PlacementPolicy{required})
	if len(rejections) > 0 {
		t.Fatal(rejections[0].Err)
	}
	made = placement.Decide(made, placement.Namespace{Name: made.Namespace}, policies, placement.Rules{}, nil).Apply(made)
	made.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		LastTransitionTime: metav1.NewTime(noon.Add(-waited)),
	}}
	return made
}

const auto = "{match: {podSelector: {matchLabels: {app: dns}}}}"

// names lists pods in the order of their findings.
func names(readmissions []Readmission) []string {
	var found []string
	for _, r := range readmissions {
		found = append(found, r.Pod.Name)
	}
	return found
}
