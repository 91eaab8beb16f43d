package main

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
)

// typical and large are the pods of the benchmark.
func typical(t *testing.T) *corev1.Pod {
	t.Helper()
	pod, err := readPod()
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func large(t *testing.T) *corev1.Pod {
	t.Helper()
	return enlarged(typical(t))
}

// decided is a pod as placement makes it by the policies of the benchmark.
func decided(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	policies, rejected := placement.Compile(policiesOf(t))
	if len(rejected) > 0 {
		t.Fatalf("rejected: %v", rejected)
	}
	return placement.Decide(pod, placement.Namespace{Name: "placed"}, policies, placement.Rules{}, nil).Apply(pod)
}

func policiesOf(t *testing.T) []v1alpha1.PlacementPolicy {
	t.Helper()
	var items []v1alpha1.PlacementPolicy
	for _, manifest := range manyPolicies() {
		var item v1alpha1.PlacementPolicy
		if err := yaml.UnmarshalStrict([]byte(manifest), &item); err != nil {
			t.Fatal(err)
		}
		items = append(items, item)
	}
	return items
}

func TestThePodsHaveTheSizesThatTheHelpSays(t *testing.T) {
	t.Parallel()
	for size, pod := range map[int]*corev1.Pod{2: typical(t), 10: large(t)} {
		encoded, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		if got := (len(encoded) + 512) >> 10; got != size {
			t.Errorf("a pod has %d bytes, want about %d KiB", len(encoded), size)
		}
	}
}

func TestFiftyPoliciesCanBeRenderedAndOneMatches(t *testing.T) {
	t.Parallel()
	items := policiesOf(t)
	policies, rejected := placement.Compile(items)
	rendering := placement.Render(policies, placement.Rules{}, placement.RenderOptions{Name: "test"})
	if len(items) != 50 || len(rejected) > 0 || len(rendering.Refused) > 0 {
		t.Errorf("%d policies, of which %v are rejected and %v refused", len(items), rejected, rendering.Refused)
	}
	decision := placement.Decide(typical(t), placement.Namespace{Name: "placed"}, policies, placement.Rules{}, nil)
	if decision.Policy != governing || len(decision.Overlapped) > 0 {
		t.Errorf("policy %q governs the pod, and %v match it too", decision.Policy, decision.Overlapped)
	}
}

func TestAPodIsPlacedOnlyWhenEachOfItsTermsIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change            func(*corev1.Pod)
		placed, untouched bool
	}{
		"as placement makes it": {func(*corev1.Pod) {}, true, false},
		"as it was written":     {func(p *corev1.Pod) { *p = *large(t) }, false, true},
		"with a record, and nothing done": {func(p *corev1.Pod) {
			p.Spec.Affinity = large(t).Spec.Affinity
		}, false, false},
		"placed, and no record": {func(p *corev1.Pod) { p.Annotations = nil }, false, false},
		"by another policy": {func(p *corev1.Pod) {
			p.Annotations[placement.DecisionAnnotation] = `{"policy":"other","decision":"Required","reason":"PolicyRequires"}`
		}, false, false},
		"with one term left open": {func(p *corev1.Pod) {
			terms := termsOf(p)
			terms[1].MatchExpressions = terms[1].MatchExpressions[:1]
		}, false, false},
		"with a term lost": {func(p *corev1.Pod) {
			required := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
			required.NodeSelectorTerms = required.NodeSelectorTerms[:1]
		}, false, false},
		"with its author's zone lost": {func(p *corev1.Pod) {
			terms := termsOf(p)
			terms[0].MatchExpressions = terms[0].MatchExpressions[1:]
		}, false, false},
		"with no affinity at all": {func(p *corev1.Pod) { p.Spec.Affinity = nil }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := decided(t, large(t))
			c.change(pod)
			if placed, untouched := isPlaced(pod, large(t)), isUntouched(pod, large(t)); placed != c.placed || untouched != c.untouched {
				t.Errorf("placed %t, untouched %t; want %t, %t", placed, untouched, c.placed, c.untouched)
			}
		})
	}
}

func TestAPodWithoutTermsIsPlacedByTheOneThatIsMade(t *testing.T) {
	t.Parallel()
	pod := decided(t, typical(t))
	if !isPlaced(pod, typical(t)) || isUntouched(pod, typical(t)) {
		t.Errorf("not placed by the terms %v", termsOf(pod))
	}
	terms := termsOf(pod)
	terms[0].MatchExpressions = terms[0].MatchExpressions[1:]
	if isPlaced(pod, typical(t)) {
		t.Error("placed, though a requirement lacks")
	}
	if !isUntouched(typical(t), typical(t)) || isPlaced(typical(t), typical(t)) {
		t.Error("what was written is not as it was written")
	}
}
