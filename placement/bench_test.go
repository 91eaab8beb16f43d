package placement

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// maxAllocations is a third of what the whole of the webhook's handler may take.
const maxAllocations = 66

func BenchmarkDecide(b *testing.B) {
	policies, pod, capacity := compiled(b, placementtest.FiftyPolicies(b)...), placementtest.LargePod(b), &room{nodes: 2}
	namespace := Namespace{Name: "ingress", Labels: map[string]string{corev1.LabelMetadataName: "ingress"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decide(pod, namespace, policies, Rules{}, capacity).PatchJSON(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestADecisionIsCheap(t *testing.T) {
	policies, pod, capacity := compiled(t, placementtest.FiftyPolicies(t)...), placementtest.LargePod(t), &room{nodes: 2}
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
