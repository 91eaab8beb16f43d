package placement

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// fiftyPolicies are as many as a large cluster has, of every kind; the last one, of
// lowest priority, matches the pod of the benchmarks.
func fiftyPolicies(t testing.TB) Policies {
	t.Helper()
	items := make([]v1alpha1.PlacementPolicy, 0, 50)
	for i := range 49 {
		match := [...]string{
			"namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: team-%d}}",
			"podSelector: {matchLabels: {app: app-%d}}",
			"owners: [{kind: Deployment, name: 'gateway-%d-*'}, {kind: StatefulSet, name: 'queue-*'}]",
			"priorityClassNames: [class-%d]",
		}[i%4]
		items = append(items, policyOf(t, fmt.Sprintf("policy-%d", i), fmt.Sprintf("{priority: %d, mode: Required, match: {"+match+"}}", i, i)))
	}
	last := policyOf(t, "last", "{priority: -1, match: {owners: [{kind: Deployment, name: ingress-*}]}}")
	return compiled(t, append(items, last)...)
}

// largePod is a pod of about 10 KiB with an affinity of its own.
func largePod(t testing.TB) *corev1.Pod {
	t.Helper()
	pod := podOf(t, `
metadata: {labels: {app: ingress, pod-template-hash: abc, app.kubernetes.io/name: ingress}, annotations: {example.com/config: x}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: ingress-nginx-abc, uid: u, controller: true}]}
spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}, {matchExpressions: [{key: zone, operator: In, values: [b]}]}]}}}}`)
	for i := range 60 {
		pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", i), Value: strings.Repeat("v", 120)})
	}
	if size := len(mustJSON(t, pod)); size < 9<<10 || size > 12<<10 {
		t.Fatalf("the pod has %d bytes, want about 10 KiB", size)
	}
	return pod
}

// maxAllocations is a third of what the whole of the webhook's handler may take.
const maxAllocations = 66

func BenchmarkDecide(b *testing.B) {
	policies, pod, capacity := fiftyPolicies(b), largePod(b), &room{nodes: 2}
	namespace := Namespace{Name: "ingress", Labels: map[string]string{corev1.LabelMetadataName: "ingress"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decide(pod, namespace, policies, Rules{}, capacity).PatchJSON(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestADecisionIsCheap(t *testing.T) {
	policies, pod, capacity := fiftyPolicies(t), largePod(t), &room{nodes: 2}
	namespace := Namespace{Name: "ingress", Labels: map[string]string{corev1.LabelMetadataName: "ingress"}}
	decision := Decide(pod, namespace, policies, Rules{}, capacity)
	if decision.Policy != "last" || decision.Outcome != PlacedRequired {
		t.Fatalf("%s by policy %q, want the last to require", decision.Outcome, decision.Policy)
	}
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := Decide(pod, namespace, policies, Rules{}, capacity).PatchJSON(); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > maxAllocations {
		t.Errorf("%v allocations, want %d at most", allocations, maxAllocations)
	}
}
