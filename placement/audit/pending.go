package audit

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

const (
	// pendingLimit is how long a pod may wait on our requirements alone. DNS that waits
	// is worse than DNS on a spot node.
	pendingLimit = 60 * time.Second
	// scalingLimit is as much where the pool is autoscaled: a machine is ordered when
	// the pod is seen to wait, and takes minutes to boot. A shorter limit would call it
	// for nothing.
	scalingLimit = 5 * time.Minute
	// doubt is added while a long-lived node seems to have room: the scheduler knows
	// more than we do (spread, pod affinity, volumes, host ports), but may also be about
	// to bind the pod to a node that has just come.
	doubt = 60 * time.Second
	// notice is how long before a pod is deleted every replica knows that it will be,
	// whatever their watches and clocks differ by.
	notice = 15 * time.Second
)

// makesAnother says whether a controller of the kind puts a pod in the place of one
// that is deleted, and asks no more about it. A Job counts it as a failure; a pod
// without a controller would be lost; of kinds that are not Kubernetes' own nothing is
// known. Behind a ReplicaSet may be a Deployment or an Argo Rollout.
func makesAnother(kind string) bool {
	switch kind {
	case "ReplicaSet", "ReplicationController", "StatefulSet":
		return true
	}
	return false
}

// lookPending sees whether our requirements alone keep a pod from running, and whether
// that has gone on for too long.
func (a *auditor) lookPending(pod *corev1.Pod, policy string) {
	owner := metav1.GetControllerOfNoCopy(pod)
	since, waits := waitsSince(pod)
	if !waits || owner == nil || !makesAnother(owner.Kind) {
		return
	}
	limit, limited := a.limit(policy)
	if !limited {
		return
	}
	waited := a.now.Sub(since)
	if waited < limit-notice || !a.elsewhere.Blocked(pod) {
		return
	}
	if a.all.LongLivedNodes(pod, 1) > 0 {
		if limit += doubt; waited < limit-notice {
			return
		}
	}
	a.memory.pending[owner.UID] = a.now.Add(remembered)
	// Not in the audit that noticed it first: the webhook beside us is yet to be told.
	if _, known := a.before.pending[owner.UID]; known && waited >= limit {
		a.readmissions = append(a.readmissions, Readmission{Pod: pod, Policy: policy, Waited: waited})
	}
}

// limit is how long a pod of the policy may wait; none, if for as long as it takes.
// Without a policy it is as with the mode Auto and a fixed pool.
func (a *auditor) limit(policy string) (limit time.Duration, limited bool) {
	if policy == "" {
		return pendingLimit, true
	}
	switch spec := a.specs[policy]; {
	case spec.Mode == v1alpha1.Required || spec.Mode == v1alpha1.Preferred:
		return 0, false
	case spec.LongLivedPool == v1alpha1.Autoscaled:
		return scalingLimit, true
	}
	return pendingLimit, true
}

// waitsSince says since when the scheduler has found no node for the pod. A pod that
// is gated, or that it has not tried yet, does not wait for a node.
func waitsSince(pod *corev1.Pod) (since time.Time, waits bool) {
	condition := podCondition(pod, corev1.PodScheduled)
	if pod.Spec.NodeName != "" || condition == nil || condition.Status != corev1.ConditionFalse ||
		condition.Reason != corev1.PodReasonUnschedulable {
		return time.Time{}, false
	}
	return condition.LastTransitionTime.Time, true
}
