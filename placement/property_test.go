package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// The words that random pods and nodes are made of: few, so that they meet.
var (
	keys   = []string{"zone", "disk", "karpenter.sh/capacity-type", "cloud.google.com/gke-spot", "cluster.x-k8s.io/interruptible", "scheduling.cast.ai/spot"}
	values = []string{"a", "b", "spot", "on-demand", "true", "7"}
)

func newRandom(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 4)) //nolint:gosec // repeatable on purpose
}

func pick[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

func randomNode(random *rand.Rand, name string) corev1.Node {
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for range random.IntN(4) {
		node.Labels[pick(random, keys)] = pick(random, values)
	}
	return node
}

func randomExpressions(random *rand.Rand) []corev1.NodeSelectorRequirement {
	var expressions []corev1.NodeSelectorRequirement
	for range random.IntN(3) {
		e := corev1.NodeSelectorRequirement{Key: pick(random, keys)}
		switch random.IntN(4) {
		case 0:
			e.Operator, e.Values = corev1.NodeSelectorOpIn, []string{pick(random, values), pick(random, values)}
		case 1:
			e.Operator, e.Values = corev1.NodeSelectorOpNotIn, []string{pick(random, values)}
		case 2:
			e.Operator = pick(random, []corev1.NodeSelectorOperator{corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist})
		default:
			e.Operator, e.Values = pick(random, []corev1.NodeSelectorOperator{corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt}), []string{"6"}
		}
		expressions = append(expressions, e)
	}
	return expressions
}

func randomTerm(random *rand.Rand) corev1.NodeSelectorTerm {
	term := corev1.NodeSelectorTerm{MatchExpressions: randomExpressions(random)}
	if random.IntN(5) == 0 {
		term.MatchFields = []corev1.NodeSelectorRequirement{{
			Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{fmt.Sprintf("n%d", random.IntN(20))},
		}}
	}
	return term
}

func randomPod(random *rand.Rand) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "p", Labels: map[string]string{"want": pick(random, []string{"required", "preferred", "autoscaled", "tolerant", "tolerant-preferred"})},
	}}
	if random.IntN(6) == 0 {
		pod.Spec.NodeSelector = map[string]string{pick(random, keys): pick(random, values)}
	}
	for range random.IntN(3) {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
			Key: pick(random, []string{"pool", "dedicated"}), Operator: pick(random, []corev1.TolerationOperator{"", corev1.TolerationOpEqual, corev1.TolerationOpExists}),
			Effect: pick(random, []corev1.TaintEffect{"", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule}),
		})
	}
	if random.IntN(8) == 0 {
		return pod
	}
	affinity := &corev1.NodeAffinity{}
	pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: affinity}
	if random.IntN(5) > 0 {
		affinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{}
		for range 1 + random.IntN(4) {
			required := affinity.RequiredDuringSchedulingIgnoredDuringExecution
			required.NodeSelectorTerms = append(required.NodeSelectorTerms, randomTerm(random))
		}
	}
	for range random.IntN(3) {
		affinity.PreferredDuringSchedulingIgnoredDuringExecution = append(affinity.PreferredDuringSchedulingIgnoredDuringExecution,
			corev1.PreferredSchedulingTerm{Weight: pick(random, []int32{1, 100}), Preference: randomTerm(random)})
	}
	return pod
}

// Whatever a pod asks for and whatever nodes there are: where it may run becomes
// smaller by nodes that are not long-lived and by nothing else, or stays the same.
func TestPlacementOnlyEverTakesSpotNodesAway(t *testing.T) {
	t.Parallel()
	policies, rules := casePolicies(t), caseRules()
	outcomes := map[Outcome]int{}
	for seed := range uint64(4_000) {
		random := newRandom(seed)
		pod := randomPod(random)
		nodes := make([]corev1.Node, 20)
		for i := range nodes {
			nodes[i] = randomNode(random, fmt.Sprintf("n%d", i))
		}
		decision := Decide(pod, Namespace{Name: "default"}, policies, rules, nil)
		outcomes[decision.Outcome]++
		after := decision.Apply(pod)
		checkPatch(t, decision, pod, after)
		checkSettled(t, after, Namespace{Name: "default"}, policies, rules, decision)
		was, is := nodeaffinity.GetRequiredNodeAffinity(pod), nodeaffinity.GetRequiredNodeAffinity(after)
		for i := range nodes {
			checkNode(t, decision, pod, &nodes[i], mustMatch(t, was, &nodes[i]), mustMatch(t, is, &nodes[i]), rules)
		}
		if t.Failed() {
			t.Fatalf("seed %d: %s by %s\npod %s\npatch %s", seed, decision.Outcome, decision.Reason, placementtest.JSON(t, pod), placementtest.JSON(t, decision.Patch()))
		}
	}
	for _, outcome := range []Outcome{PlacedRequired, PlacedPreferred, Unchanged} {
		if outcomes[outcome] < 100 {
			t.Errorf("%s was decided %d times only: the pods are not random enough", outcome, outcomes[outcome])
		}
	}
}

func mustMatch(t *testing.T, affinity nodeaffinity.RequiredNodeAffinity, node *corev1.Node) bool {
	t.Helper()
	matches, err := affinity.Match(node)
	if err != nil {
		t.Fatal(err)
	}
	return matches
}

// checkNode says that the pod may run on the node after as it should.
func checkNode(t *testing.T, decision Decision, pod *corev1.Pod, node *corev1.Node, was, is bool, rules Rules) {
	t.Helper()
	switch {
	case is && !was:
		t.Errorf("node %v is allowed, and was not before", node.Labels)
	case was && !is && decision.Outcome != PlacedRequired:
		t.Errorf("node %v is not allowed any more", node.Labels)
	case was && !is && rules.LongLived(node.Labels):
		t.Errorf("long-lived node %v is not allowed any more", node.Labels)
	case is && decision.Outcome == PlacedRequired && !rules.LongLived(node.Labels) && !authorChoseNode(pod, node, rules):
		t.Errorf("node %v is still allowed, and no term of the author's speaks of its like", node.Labels)
	}
}

// authorChoseNode says whether a term that names a mark itself allows the node.
func authorChoseNode(pod *corev1.Pod, node *corev1.Node, rules Rules) bool {
	required := pod.Spec.Affinity
	if required == nil || required.NodeAffinity == nil || required.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return false
	}
	return slices.ContainsFunc(required.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		selector, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}})
		return err == nil && rules.get().keyIn(&term) != "" && selector.Match(node)
	})
}
