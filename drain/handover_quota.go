package drain

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	pods "k8s.io/component-helpers/resource"
)

// fits says whether every quota has room for one more pod like this one, which
// is in their counts already. It reckons as the API server's quota evaluator does
// for what quotas of pods are written about, and says yes where it cannot tell:
// a pod that is refused after all shows in the ReplicaSet, and the hand-over is
// undone.
func fits(pod *corev1.Pod, quotas []corev1.ResourceQuota) bool {
	for i := range quotas {
		if inScope(pod, &quotas[i].Spec) && !hasRoom(pod, &quotas[i].Status) {
			return false
		}
	}
	return true
}

// hasRoom reads the status, as the API server does: the spec counts from the
// moment at which the controller has taken it over.
func hasRoom(pod *corev1.Pod, status *corev1.ResourceQuotaStatus) bool {
	requests := pods.PodRequests(pod, pods.PodResourcesOptions{})
	limits := pods.PodLimits(pod, pods.PodResourcesOptions{})
	for name, hard := range status.Hard {
		more := charge(name, requests, limits)
		if more.IsZero() {
			continue
		}
		used := status.Used[name].DeepCopy()
		used.Add(more)
		if used.Cmp(hard) > 0 {
			return false
		}
	}
	return true
}

// charge is what one pod adds to a quota's count of name: "pods", "limits.cpu",
// "requests.cpu" or short "cpu", "requests.example.com/gpu".
func charge(name corev1.ResourceName, requests, limits corev1.ResourceList) resource.Quantity {
	if name == corev1.ResourcePods || name == "count/pods" {
		return *resource.NewQuantity(1, resource.DecimalSI)
	}
	if limited, ok := strings.CutPrefix(string(name), "limits."); ok {
		return limits[corev1.ResourceName(limited)]
	}
	return requests[corev1.ResourceName(strings.TrimPrefix(string(name), corev1.DefaultResourceRequestsPrefix))]
}

// inScope says whether the quota counts the pod: all of its scopes must match.
func inScope(pod *corev1.Pod, spec *corev1.ResourceQuotaSpec) bool {
	for _, scope := range spec.Scopes {
		selector := corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists}
		if !matchesScope(pod, selector) {
			return false
		}
	}
	if spec.ScopeSelector == nil {
		return true
	}
	for _, selector := range spec.ScopeSelector.MatchExpressions {
		if !matchesScope(pod, selector) {
			return false
		}
	}
	return true
}

// matchesScope knows the scopes that a pod can be in by itself; the others are
// about claims, or about affinities that reach into other namespaces, and match
// nothing here.
func matchesScope(pod *corev1.Pod, selector corev1.ScopedResourceSelectorRequirement) bool {
	ends := pod.Spec.ActiveDeadlineSeconds != nil
	bestEffort := pod.Status.QOSClass == corev1.PodQOSBestEffort
	switch selector.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return ends
	case corev1.ResourceQuotaScopeNotTerminating:
		return !ends
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort
	case corev1.ResourceQuotaScopePriorityClass:
		return matchesClass(pod.Spec.PriorityClassName, selector)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ResourceQuotaScopeVolumeAttributesClass:
	}
	return false
}

func matchesClass(class string, selector corev1.ScopedResourceSelectorRequirement) bool {
	listed := slices.Contains(selector.Values, class)
	switch selector.Operator {
	case corev1.ScopeSelectorOpExists:
		return class != ""
	case corev1.ScopeSelectorOpDoesNotExist:
		return class == ""
	case corev1.ScopeSelectorOpIn:
		return listed
	case corev1.ScopeSelectorOpNotIn:
		return !listed
	}
	return false
}
