package drain

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// surroundings is what else of a namespace speaks of its pods.
type surroundings struct {
	services   []corev1.Service
	budgets    []policyv1.PodDisruptionBudget
	policies   []networkingv1.NetworkPolicy
	quotas     []corev1.ResourceQuota
	affinities []affinity
}

// affinity is a pod selector in the affinity or anti-affinity of a pod.
type affinity struct {
	of       types.UID
	selector *metav1.LabelSelector
}

// refuseSurroundings says what a pod's namespace has against its hand-over.
func refuseSurroundings(pod *corev1.Pod, around *surroundings) Refusal {
	before := labels.Set(pod.Labels)
	after := labels.Set{HandedOverKey: before[hashLabel]}
	for key, value := range before {
		if key != hashLabel {
			after[key] = value
		}
	}
	changes := func(selector labels.Selector) bool { return selector.Matches(before) != selector.Matches(after) }
	switch {
	case anyService(around.services, changes):
		return ServiceSelectsOnHash
	case anyBudget(around.budgets, changes):
		return BudgetSelectsOnHash
	case anyPolicy(around.policies, changes):
		return PolicySelectsOnHash
	case anyAffinity(around.affinities, pod.UID, changes):
		return AffinitySelectsOnHash
	case !fits(pod, around.quotas):
		return QuotaFull
	}
	return ""
}

func anyService(services []corev1.Service, changes func(labels.Selector) bool) bool {
	for i := range services {
		if selector := services[i].Spec.Selector; len(selector) > 0 && changes(labels.SelectorFromSet(selector)) {
			return true
		}
	}
	return false
}

func anyBudget(budgets []policyv1.PodDisruptionBudget, changes func(labels.Selector) bool) bool {
	for i := range budgets {
		if changes(asSelector(budgets[i].Spec.Selector)) {
			return true
		}
	}
	return false
}

// anyPolicy looks at the pods that a policy is about and at those that it lets
// talk to them. A peer with a namespaceSelector may or may not mean the policy's
// own namespace; it counts. Policies of other namespaces are not looked at: one
// that names a hash there would have to change with every rollout here.
func anyPolicy(policies []networkingv1.NetworkPolicy, changes func(labels.Selector) bool) bool {
	for i := range policies {
		spec := &policies[i].Spec
		if changes(asSelector(&spec.PodSelector)) {
			return true
		}
		var peers []networkingv1.NetworkPolicyPeer
		for _, rule := range spec.Ingress {
			peers = append(peers, rule.From...)
		}
		for _, rule := range spec.Egress {
			peers = append(peers, rule.To...)
		}
		for _, peer := range peers {
			if peer.PodSelector != nil && changes(asSelector(peer.PodSelector)) {
				return true
			}
		}
	}
	return false
}

func anyAffinity(affinities []affinity, own types.UID, changes func(labels.Selector) bool) bool {
	for _, term := range affinities {
		if term.of != own && changes(asSelector(term.selector)) {
			return true
		}
	}
	return false
}

// hashAffinities returns the selectors in the affinities of a pod that name the
// hash; the API server has merged matchLabelKeys into them. The rest of a
// namespace's pods need not be kept in memory.
func hashAffinities(pod *corev1.Pod) []affinity {
	var terms []corev1.PodAffinityTerm
	if a := pod.Spec.Affinity; a != nil {
		if own := a.PodAffinity; own != nil {
			terms = append(terms, own.RequiredDuringSchedulingIgnoredDuringExecution...)
			terms = append(terms, unweighted(own.PreferredDuringSchedulingIgnoredDuringExecution)...)
		}
		if own := a.PodAntiAffinity; own != nil {
			terms = append(terms, own.RequiredDuringSchedulingIgnoredDuringExecution...)
			terms = append(terms, unweighted(own.PreferredDuringSchedulingIgnoredDuringExecution)...)
		}
	}
	var found []affinity
	for _, term := range terms {
		if namesHash(term.LabelSelector) {
			found = append(found, affinity{pod.UID, term.LabelSelector})
		}
	}
	return found
}

func unweighted(weighted []corev1.WeightedPodAffinityTerm) []corev1.PodAffinityTerm {
	terms := make([]corev1.PodAffinityTerm, 0, len(weighted))
	for i := range weighted {
		terms = append(terms, weighted[i].PodAffinityTerm)
	}
	return terms
}

func namesHash(selector *metav1.LabelSelector) bool {
	if selector == nil {
		return false
	}
	for _, expression := range selector.MatchExpressions {
		if expression.Key == hashLabel {
			return true
		}
	}
	_, named := selector.MatchLabels[hashLabel]
	return named
}

// asSelector reads a selector; nil selects nothing. The API server lets none pass
// that cannot be read.
func asSelector(selector *metav1.LabelSelector) labels.Selector {
	read, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return labels.Nothing()
	}
	return read
}
