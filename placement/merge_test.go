package placement

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// allCases are the cases of every table.
func allCases() map[string]placementCase {
	return merge(mergeCases, matchCases, refusedCases)
}

func TestEveryCaseIsPlacedAsItSays(t *testing.T) {
	t.Parallel()
	policies, rules := casePolicies(t), caseRules()
	for name, c := range allCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := placementtest.Pod(t, c.pod)
			decision := Decide(pod, c.where(), policies, rules, nil)
			if decision.Reason != c.reason || decision.Key != c.key {
				t.Errorf("reason %q, key %q; want %q, %q", decision.Reason, decision.Key, c.reason, c.key)
			}
			if decision.Outcome != c.reason.Outcome() {
				t.Errorf("outcome %q, want %q", decision.Outcome, c.reason.Outcome())
			}
			if c.policy != "" && decision.Policy != c.policy {
				t.Errorf("policy %q, want %q", decision.Policy, c.policy)
			}
			if got := allowed(t, pod, caseNodes); got != c.before {
				t.Errorf("before, the pod may run on %q, want %q", got, c.before)
			}
			after := decision.Apply(pod)
			if got := allowed(t, after, caseNodes); got != c.after {
				t.Errorf("after, the pod may run on %q, want %q", got, c.after)
			}
			if key, only := caseRules().OnlySpot(&pod.Spec); only != (c.reason == Contradiction) || key != "" && key != c.key {
				t.Errorf("it asks for spot only: %t, by %q", only, key)
			}
			checkPatch(t, decision, pod, after)
			checkSettled(t, after, c.where(), policies, rules, decision)
		})
	}
}

// checkPatch holds the JSON Patch to what Apply makes of the pod.
func checkPatch(t testing.TB, decision Decision, before, after *corev1.Pod) {
	t.Helper()
	got := patched(t, decision, before)
	if diff := cmp.Diff(after, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the patch makes another pod than Apply (-Apply +patch):\n%s", diff)
	}
	if !slices.Equal(placementtest.JSON(t, before), placementtest.JSON(t, after)) != (decision.Patch() != nil) {
		t.Errorf("patch %v for a pod that changes: %t", decision.Patch(), cmp.Diff(before, after) != "")
	}
}

// patched applies the patch with a library, as the API server does.
func patched(t testing.TB, decision Decision, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	encoded, err := decision.PatchJSON()
	if err != nil {
		t.Fatal(err)
	}
	if encoded == nil {
		return pod
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		t.Fatalf("decoding the patch: %v", err)
	}
	document, err := patch.Apply(placementtest.JSON(t, pod))
	if err != nil {
		t.Fatalf("applying %s: %v", encoded, err)
	}
	result := &corev1.Pod{}
	if err := json.Unmarshal(document, result); err != nil {
		t.Fatalf("decoding the patched pod: %v", err)
	}
	return result
}

// checkSettled says that of the placed pod the same is decided, and nothing changed.
func checkSettled(t testing.TB, placed *corev1.Pod, namespace Namespace, policies Policies, rules Rules, first Decision) {
	t.Helper()
	again := Decide(placed, namespace, policies, rules, nil)
	if again.Outcome != first.Outcome || again.Reason != first.Reason || again.Policy != first.Policy {
		t.Errorf("asked again: %s by %s (%q); first: %s by %s (%q)", again.Outcome, again.Reason, again.Policy, first.Outcome, first.Reason, first.Policy)
	}
	if patch := again.Patch(); patch != nil {
		t.Errorf("asked again, it patches %s", placementtest.JSON(t, patch))
	}
}

func TestNoReasonWithoutACase(t *testing.T) {
	t.Parallel()
	covered := map[Reason]bool{}
	for _, c := range allCases() {
		covered[c.reason] = true
	}
	for _, c := range autoCases {
		covered[c.reason] = true
	}
	for _, reason := range Reasons() {
		if !covered[reason] {
			t.Errorf("no case is decided by %s", reason)
		}
	}
}

func TestAnotherWebhookAfterUsIsFollowed(t *testing.T) {
	t.Parallel()
	policies := casePolicies(t)
	pod := placementtest.Pod(t, required)
	placed := Decide(pod, Namespace{}, policies, Rules{}, nil).Apply(pod)
	terms := &placed.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	*terms = append(*terms, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
		{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}},
	}})
	again := Decide(placed, Namespace{}, policies, Rules{}, nil)
	if got := allowed(t, again.Apply(placed), caseNodes); got != anyLongLived {
		t.Errorf("the pod may run on %q, want %q", got, anyLongLived)
	}
	for _, operation := range again.Patch() {
		if want := requiredPath + "/nodeSelectorTerms/1/matchExpressions/-"; operation.Path != want {
			t.Errorf("operation on %s, want the new term's only", operation.Path)
		}
	}
	placed.Spec.Affinity = nil
	if got := allowed(t, Decide(placed, Namespace{}, policies, Rules{}, nil).Apply(placed), caseNodes); got != anyLongLived {
		t.Errorf("after its affinity was taken off, the pod may run on %q, want %q", got, anyLongLived)
	}
}
