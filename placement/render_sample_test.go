package placement

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

func TestEveryPolicyOfTheTablesHasASamplePod(t *testing.T) {
	t.Parallel()
	namespace := Namespace{Name: "default", Labels: map[string]string{"team": "edge"}}
	rendering := Render(casePolicies(t), caseRules(), RenderOptions{Name: "x"})
	var sampled []string
	for _, sample := range rendering.Samples(namespace) {
		sampled = append(sampled, sample.Policy)
		if governing := rendering.InForce.Governing(sample.Pod, namespace); !slices.Contains(governing, sample.Policy) {
			t.Errorf("the sample of %q is governed by %q", sample.Policy, governing)
		}
	}
	if want := rendering.InForce.Names(); !slices.Equal(sampled, want) {
		t.Errorf("there are samples of %q, want of %q", sampled, want)
	}
}

func TestASampleMeetsEveryCriterion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec    string
		sampled bool
	}{
		"every label":               {"{match: {podSelector: {matchLabels: {a: b, c: d}, matchExpressions: [{key: e, operator: In, values: [z, f]}, {key: g, operator: Exists}]}}}", true},
		"one key asked for twice":   {"{match: {podSelector: {matchExpressions: [{key: a, operator: Exists}, {key: a, operator: In, values: [b]}]}}}", true},
		"labels that may not be":    {"{match: {podSelector: {matchExpressions: [{key: a, operator: NotIn, values: [b]}, {key: c, operator: DoesNotExist}]}}}", true},
		"a Deployment by a glob":    {"{match: {owners: [{kind: Deployment, name: 'edge-?.*'}]}}", true},
		"any Deployment":            {"{match: {owners: [{kind: Deployment}]}}", true},
		"a Rollout":                 {"{match: {owners: [{kind: Rollout, name: edge}]}}", true},
		"any StatefulSet":           {"{match: {owners: [{kind: StatefulSet}]}}", true},
		"a ReplicaSet":              {"{match: {owners: [{kind: ReplicaSet, name: '*'}]}}", true},
		"a priority class":          {"{match: {priorityClassNames: [high, low]}}", true},
		"all of them together":      {"{match: {podSelector: {matchLabels: {a: b}}, owners: [{kind: Job, name: x-*}], priorityClassNames: [high]}}", true},
		"this namespace":            {"{match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: here}}}}", true},
		"another namespace":         {"{match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: there}}}}", false},
		"what no pod can have":      {"{match: {podSelector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: NotIn, values: [b]}]}}}", false},
		"one of two that cannot be": {"{match: {podSelector: {matchExpressions: [{key: a, operator: In, values: [a]}, {key: a, operator: In, values: [b]}]}}}", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := placementtest.Policy(t, "policy", c.spec)
			policy.Spec.Mode = "Required"
			rendering := Render(compiled(t, policy), Rules{}, RenderOptions{Name: "x"})
			namespace := Namespace{Name: "here", Labels: map[string]string{corev1.LabelMetadataName: "here"}}
			samples := rendering.Samples(namespace)
			if got := len(samples) == 1; got != c.sampled {
				t.Fatalf("there are %d samples", len(samples))
			}
			if !c.sampled {
				return
			}
			if got := Decide(samples[0].Pod, namespace, rendering.InForce, Rules{}, nil); got.Reason != PolicyRequires {
				t.Errorf("the sample %+v is left alone: %s", samples[0].Pod, got.Reason)
			}
		})
	}
}

func TestARenderingMeansThePodsThatItIsNarrowedTo(t *testing.T) {
	t.Parallel()
	only := &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	constraints := Render(Policies{}, Rules{}, RenderOptions{Name: "x", Pods: only}).Policy.Spec.MatchConstraints
	if got := metav1.FormatLabelSelector(constraints.ObjectSelector); got != "a=b" {
		t.Errorf("it means the pods %q", got)
	}
}

func TestARenderingLeavesOutItsOwnNamespaceButNeverDNS(t *testing.T) {
	t.Parallel()
	for own, want := range map[string]string{"": "<none>", "ebbtide": "kubernetes.io/metadata.name notin (ebbtide)", metav1.NamespaceSystem: "<none>"} {
		constraints := Render(Policies{}, Rules{}, RenderOptions{Name: "x", OwnNamespace: own}).Policy.Spec.MatchConstraints
		if got := metav1.FormatLabelSelector(constraints.NamespaceSelector); got != want {
			t.Errorf("in %q it means the namespaces %q, want %q", own, got, want)
		}
	}
}
