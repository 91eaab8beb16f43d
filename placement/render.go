package placement

import (
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// Refusal is why a policy is not part of a rendering.
type Refusal struct {
	Policy string
	// Reason is stable; it becomes the reason of the policy's condition Rendered.
	Reason  RefusalReason
	Message string
}

// RefusalReason is a closed set.
type RefusalReason string

// The reasons.
const (
	// NeedsClusterState: the mode Auto with a fixed pool asks how many nodes there are,
	// which no admission policy can see.
	NeedsClusterState RefusalReason = "NeedsClusterState"
	// TooLarge: what the policy selects is too long to compile.
	TooLarge RefusalReason = "TooLarge"
	// TooManyPolicies: so many of higher priority are rendered that the sum would be too
	// slow to evaluate.
	TooManyPolicies RefusalReason = "TooManyPolicies"
)

// Rendering is policies as the API server evaluates them itself.
type Rendering struct {
	// Policy and Binding are ready to be applied, with every defaulted field set. They
	// are in force together: a policy without its binding does nothing.
	Policy  *admissionv1.MutatingAdmissionPolicy
	Binding *admissionv1.MutatingAdmissionPolicyBinding
	// InForce are the policies that were rendered. [Decide] with these and no capacity
	// comes to the same pods.
	InForce Policies
	Refused []Refusal
}

// RenderOptions is what a rendering depends on beside the policies and rules.
type RenderOptions struct {
	// Name is the name of the policy and of the binding.
	Name string
	// OwnNamespace is left out, as it is by the webhook, unless it is kube-system, where
	// DNS lives. Empty leaves out none.
	OwnNamespace string
	// Pods are the labels of the pods that are meant at all; nil means every pod.
	Pods *metav1.LabelSelector
	// Labels are put on both objects.
	Labels map[string]string
}

const (
	// maxMatch is how long the expression of one policy's match may be, in bytes; the
	// compiler takes 100,000 characters.
	maxMatch = 32 << 10
	// maxRendered bounds the policies of one rendering, and maxRenderedBytes their
	// expressions together: an object of 1.5 MiB cannot be stored, and all of them are
	// evaluated for each pod.
	maxRendered      = 200
	maxRenderedBytes = 512 << 10
)

// Render makes one MutatingAdmissionPolicy of all policies, so that of two that match
// a pod the same one governs as in [Decide]. A policy that it refuses is not in force,
// just as if it did not exist.
//
// What an admission policy cannot do: the annotation "long-lived" of a pod that no
// policy matches is not acted on, since it asks for the mode Auto; and nothing is
// softened when pods stay Pending.
func Render(policies Policies, rules Rules, options RenderOptions) Rendering {
	rendering := Rendering{}
	var matches []string
	total := 0
	for i := range policies.ordered {
		p := &policies.ordered[i]
		match := matchExpression(p, namespaceExpression(p))
		if reason, message := refuse(p, match, len(matches), total); reason != "" {
			rendering.Refused = append(rendering.Refused, Refusal{Policy: p.name, Reason: reason, Message: message})
			continue
		}
		rendering.InForce.ordered = append(rendering.InForce.ordered, *p)
		matches = append(matches, match)
		total += len(match)
	}
	meta := metav1.ObjectMeta{Name: options.Name, Labels: options.Labels}
	rendering.Policy = &admissionv1.MutatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "MutatingAdmissionPolicy"},
		ObjectMeta: *meta.DeepCopy(),
		Spec:       renderSpec(rendering.InForce, matches, rules, options),
	}
	rendering.Binding = &admissionv1.MutatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "MutatingAdmissionPolicyBinding"},
		ObjectMeta: *meta.DeepCopy(),
		Spec:       admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: options.Name},
	}
	return rendering
}

func refuse(p *policy, match string, rendered, total int) (RefusalReason, string) {
	switch {
	case p.mode == v1alpha1.Auto && !p.autoscaled:
		return NeedsClusterState, "the mode Auto with a fixed pool asks how many long-lived nodes there are, which an admission policy cannot see; " +
			"set mode to Required or Preferred, or longLivedPool to Autoscaled"
	case len(match) > maxMatch:
		return TooLarge, fmt.Sprintf("match takes %d bytes as an expression, and may take %d", len(match), maxMatch)
	case rendered >= maxRendered || total+len(match) > maxRenderedBytes:
		return TooManyPolicies, fmt.Sprintf("%d policies of higher priority take all the room there is", rendered)
	}
	return "", ""
}

// namespaceExpression asks for the namespace's labels. Only the mutations of a policy
// may: in its matchConditions the namespace is null.
func namespaceExpression(p *policy) string {
	if p.namespaces == nil {
		return ""
	}
	return selectorExpression(p.namespaces, "namespaceObject.metadata.labels")
}

func renderSpec(policies Policies, matches []string, rules Rules, options RenderOptions) admissionv1.MutatingAdmissionPolicySpec {
	conditions := make([]admissionv1.MatchCondition, 0, len(exemptions))
	for _, exemption := range exemptions {
		conditions = append(conditions, admissionv1.MatchCondition{Name: exemption.name, Expression: exemption.expression})
	}
	namespaces := &metav1.LabelSelector{}
	if own := options.OwnNamespace; own != "" && own != metav1.NamespaceSystem {
		namespaces.MatchExpressions = []metav1.LabelSelectorRequirement{
			{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{own}},
		}
	}
	pods := &metav1.LabelSelector{}
	if options.Pods != nil {
		pods = options.Pods.DeepCopy()
	}
	rule := admissionv1.NamedRuleWithOperations{RuleWithOperations: podCreation()[0]}
	return admissionv1.MutatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{
			NamespaceSelector: namespaces,
			ObjectSelector:    pods,
			ResourceRules:     []admissionv1.NamedRuleWithOperations{rule},
			MatchPolicy:       new(admissionv1.Equivalent),
		},
		MatchConditions:    conditions,
		Variables:          variables(policies, matches, rules.get()),
		FailurePolicy:      new(admissionv1.Ignore),
		ReinvocationPolicy: admissionv1.IfNeededReinvocationPolicy,
		Mutations: []admissionv1.Mutation{{
			PatchType: admissionv1.PatchTypeJSONPatch,
			JSONPatch: &admissionv1.JSONPatch{Expression: patchExpression(len(rules.get().requirements))},
		}},
	}
}
