package placement

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The names of the webhook's two entries.
const (
	// EntryName is the entry for every namespace but kube-system and our own.
	EntryName = "pods.placement.ebbtide.dev"
	// SystemEntryName is the entry for kube-system, where DNS lives.
	SystemEntryName = "kube-system.placement.ebbtide.dev"
)

// webhookTimeoutSeconds is the least that the API takes. A server that hangs costs
// every pod this long, and several such webhooks add up until the API server gives up
// on the pod itself.
const webhookTimeoutSeconds = 1

// maxCondition is how long a condition may be, in bytes. The API server's compiler
// takes 100,000 characters.
const maxCondition = 64 << 10

// EntryOptions is what the entries of a webhook depend on beside the policies.
type EntryOptions struct {
	// OwnNamespace is the namespace of the webhook's own pods, which it must not stand
	// in the way of. When it is kube-system it is served like any pod there: what keeps
	// the webhook from locking itself out is then failurePolicy Ignore alone.
	OwnNamespace string
	// Client is how the API server reaches the webhook.
	Client admissionv1.WebhookClientConfig
}

// WebhookEntries makes the two entries of the MutatingWebhookConfiguration. No pod
// matches both; pods that [Decide] would not touch anyway match neither, so that a
// node's own pods can start when the webhook cannot. The kube-system entry is
// narrowed to the pods that the policies can match: everything else there is served
// as if there were no webhook.
func WebhookEntries(policies Policies, options EntryOptions) []admissionv1.MutatingWebhook {
	elsewhere := []string{metav1.NamespaceSystem}
	if options.OwnNamespace != "" && options.OwnNamespace != metav1.NamespaceSystem {
		elsewhere = append(elsewhere, options.OwnNamespace)
	}
	general := entry(EntryName, options, metav1.LabelSelectorOpNotIn, elsewhere)
	system := entry(SystemEntryName, options, metav1.LabelSelectorOpIn, []string{metav1.NamespaceSystem})
	// Where the condition would be too long, every pod of kube-system is asked about:
	// slower, and never wrong, since the webhook asks the policies itself.
	if condition := systemCondition(policies); len(condition) <= maxCondition {
		system.MatchConditions = append(system.MatchConditions, admissionv1.MatchCondition{Name: "governed", Expression: condition})
	}
	return []admissionv1.MutatingWebhook{general, system}
}

func entry(name string, options EntryOptions, operator metav1.LabelSelectorOperator, namespaces []string) admissionv1.MutatingWebhook {
	conditions := make([]admissionv1.MatchCondition, 0, len(exemptions)+1)
	for _, exemption := range exemptions {
		conditions = append(conditions, admissionv1.MatchCondition{Name: exemption.name, Expression: exemption.expression})
	}
	return admissionv1.MutatingWebhook{
		Name:         name,
		ClientConfig: *options.Client.DeepCopy(),
		Rules:        podCreation(),
		// Fields with a default are set too, so that what is written compares with what
		// is read back.
		FailurePolicy: new(admissionv1.Ignore),
		MatchPolicy:   new(admissionv1.Equivalent),
		NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: corev1.LabelMetadataName, Operator: operator, Values: namespaces},
		}},
		ObjectSelector: &metav1.LabelSelector{},
		// An Event tells of a decision that somebody should act on; of a dry run there is none.
		SideEffects:             new(admissionv1.SideEffectClassNoneOnDryRun),
		TimeoutSeconds:          new(int32(webhookTimeoutSeconds)),
		AdmissionReviewVersions: []string{"v1"},
		// Another webhook may set the affinity after us.
		ReinvocationPolicy: new(admissionv1.IfNeededReinvocationPolicy),
		MatchConditions:    conditions,
	}
}

// podCreation is the one rule of all that we register. Not UPDATE: the affinity of a
// pod cannot change, and a patch of it would stand in the way of every other change.
func podCreation() []admissionv1.RuleWithOperations {
	return []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule: admissionv1.Rule{
			APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
			Scope: new(admissionv1.NamespacedScope),
		},
	}}
}

// systemCondition is true for the pods of kube-system that a policy may govern or that
// ask for long-lived nodes themselves. A condition cannot see the namespace; of its
// labels only the name is known, and the others are taken to match.
func systemCondition(policies Policies) string {
	anyOf := []string{hasValue(annotationsPath, OverrideAnnotation, OverrideLongLived)}
	for i := range policies.ordered {
		candidate := &policies.ordered[i]
		if mayMatchNamespaceNamed(candidate, metav1.NamespaceSystem) {
			anyOf = append(anyOf, "("+matchExpression(candidate, "")+")")
		}
	}
	return strings.Join(anyOf, " || ")
}

func mayMatchNamespaceNamed(p *policy, name string) bool {
	if p.namespaces == nil {
		return true
	}
	requirements, selectable := p.namespaces.Requirements()
	if !selectable {
		return false
	}
	for i := range requirements {
		if requirements[i].Key() == corev1.LabelMetadataName && !requirements[i].Matches(named(name)) {
			return false
		}
	}
	return true
}

// named are the labels of a namespace of which only the name is known.
type named string

func (named) Has(label string) bool                             { return label == corev1.LabelMetadataName }
func (n named) Get(string) string                               { return string(n) }
func (n named) Lookup(label string) (value string, exists bool) { return string(n), n.Has(label) }
