package placement

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// enoughNodes is how many Ready long-lived nodes must be able to run a pod before
// the mode Auto requires one: with a single one, its restart would leave the pod
// nowhere to go.
const enoughNodes = 2

// Capacity says what the long-lived nodes can hold. It is asked for the mode Auto
// only, and only when nothing else decides. It must not block: it is in the path of
// every pod.
type Capacity interface {
	// LongLivedNodes counts the Ready long-lived nodes that could run the pod, by its
	// selectors, tolerations and requests; it may stop counting at enough.
	LongLivedNodes(pod *corev1.Pod, enough int) int
	// LatelyPending says that a pod of the same controller was lately left Pending by
	// our requirements alone, so that the mode Auto must not require again.
	LatelyPending(pod *corev1.Pod) bool
}

// Outcome is what is done with a pod. The values are stable: they are metric labels.
type Outcome string

// The outcomes.
const (
	// PlacedRequired: the pod runs on a long-lived node or not at all.
	PlacedRequired Outcome = "Required"
	// PlacedPreferred: the scheduler is asked for a long-lived node.
	PlacedPreferred Outcome = "Preferred"
	// Unchanged: where the pod may run stays as its author wrote it.
	Unchanged Outcome = "Unchanged"
)

// Decision is what is done with a pod that is being created, and why.
type Decision struct {
	Outcome Outcome `json:"decision"`
	Reason  Reason  `json:"reason"`
	// Policy governs the pod. It is empty when none does: then the pod's own
	// annotation asked, or nothing is done.
	Policy string `json:"policy,omitempty"`
	// Mode is the mode that the policy asks for; empty when Outcome is Unchanged
	// before a mode was looked at.
	Mode v1alpha1.Mode `json:"mode,omitempty"`
	// Overlapped are the other policies that match the pod, in the order in which
	// they would have won.
	Overlapped []string `json:"overlapped,omitempty"`
	// Key is the node label that AuthorChose and Contradiction speak of.
	Key string `json:"key,omitempty"`
	// IgnoredOverride is the value of OverrideAnnotation when it is none that we know.
	IgnoredOverride string `json:"ignoredOverride,omitempty"`

	changes changes
}

// Decide decides about a pod that is being created. It changes none of its arguments;
// the pod must stay as it is for as long as the decision is used. Capacity may be nil:
// then it is unknown what the long-lived nodes can hold, and the mode Auto only requires
// them where the pool is autoscaled.
//
// It is idempotent: of a pod that its patch was applied to it decides the same and
// patches nothing, even when nodes have gone since. What another webhook added in
// between is placed like what the author wrote.
func Decide(pod *corev1.Pod, namespace Namespace, policies Policies, rules Rules, capacity Capacity) Decision {
	if reason := exempt(pod); reason != "" {
		return unchanged(reason)
	}
	override := pod.Annotations[OverrideAnnotation]
	if override == OverrideAny {
		return unchanged(OptedOut)
	}
	governing, overlapped := policies.match(pod, namespace)
	decision := Decision{Overlapped: overlapped}
	if override != OverrideLongLived {
		decision.IgnoredOverride = override
	}
	switch {
	case governing != nil:
		decision.Policy = governing.name
	case override == OverrideLongLived:
		governing = &policy{mode: v1alpha1.Auto}
	default:
		decision.Outcome, decision.Reason = Unchanged, NoPolicy
		return decision
	}

	chosen := readAuthor(&pod.Spec, rules.get())
	decision.Reason, decision.Key = chosen.verdict()
	if decision.Reason == "" {
		decision.Mode = governing.mode
		tolerations := governing.tolerations
		if namespace.Annotations[tolerationsWhitelist] != "" {
			tolerations = nil
		}
		decision.Reason = reasonFor(governing, chosen, withTolerations(pod, tolerations), capacity)
		if decision.Reason.Outcome() == PlacedPreferred && namespace.Annotations[tolerationsWhitelist] == "" {
			tolerations = slices.Concat(tolerations, rules.get().soft)
		}
		decision.Reason, decision.Key = decision.changes.place(pod, chosen, rules.get(), decision.Reason, tolerations)
	}
	decision.Outcome = decision.Reason.Outcome()
	if decision.Reason != InvalidAffinity {
		decision.changes.record(pod, decision)
	}
	return decision
}

func unchanged(reason Reason) Decision { return Decision{Outcome: Unchanged, Reason: reason} }

// tolerationsWhitelist is the annotation of a namespace by which the admission plugin
// PodTolerationRestriction limits its pods' tolerations. It checks the pod again after
// us, and refuses one with a toleration that is not listed.
const tolerationsWhitelist = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"

// exempt gives the reason for which a pod is not placed at all, or none.
func exempt(pod *corev1.Pod) Reason {
	if reason := belongsToNode(pod); reason != "" {
		return reason
	}
	// The scheduler does not look at it, but the kubelet does: with an affinity that
	// its node does not meet, it fails the pod.
	if pod.Spec.NodeName != "" {
		return BoundPod
	}
	return ""
}

// belongsToNode gives the reason for which the pod cannot run on any other node.
func belongsToNode(pod *corev1.Pod) Reason {
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return MirrorPod
	}
	for i := range pod.OwnerReferences {
		if owner := &pod.OwnerReferences[i]; owner.Kind == "Node" && owner.APIVersion == "v1" {
			return MirrorPod
		}
	}
	// Its controller chose the node by the DaemonSet's template, and puts the pod back
	// for as long as the template says so: kept off, it would be Pending for ever.
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && owner.Kind == "DaemonSet" {
		return DaemonSetPod
	}
	return ""
}

// reasonFor settles the mode. The pod has the policy's tolerations.
func reasonFor(governing *policy, chosen author, pod *corev1.Pod, capacity Capacity) Reason {
	switch governing.mode {
	case v1alpha1.Required:
		return PolicyRequires
	case v1alpha1.Preferred:
		return PolicyPrefers
	case v1alpha1.Auto:
	}
	switch {
	// Asked again after another webhook: nodes may have come and gone meanwhile, but
	// what was required stays so, or the pod would say one thing and do another.
	case chosen.placed && governing.autoscaled:
		return PoolAutoscaled
	case chosen.placed:
		return AlreadyPlaced
	case capacity != nil && capacity.LatelyPending(pod):
		return PendingBefore
	case governing.autoscaled:
		return PoolAutoscaled
	case capacity == nil:
		return CapacityUnknown
	case capacity.LongLivedNodes(pod, enoughNodes) >= enoughNodes:
		return EnoughLongLivedNodes
	}
	return TooFewLongLivedNodes
}

// withTolerations returns the pod, or a shallow copy that has the tolerations too.
func withTolerations(pod *corev1.Pod, tolerations []corev1.Toleration) *corev1.Pod {
	if len(tolerations) == 0 {
		return pod
	}
	with := *pod
	with.Spec.Tolerations = slices.Concat(pod.Spec.Tolerations, tolerations)
	return &with
}
