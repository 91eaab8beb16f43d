package audit

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
)

const (
	// pendingTimeout is how long a pod may wait on our requirements alone where the
	// policy says nothing else. DNS that waits is worse than DNS on a spot node.
	pendingTimeout = 60 * time.Second
	// scalingTimeout is as much where the pool is autoscaled: a machine is ordered when
	// the pod is seen to wait, and takes minutes to boot. A shorter one would call it
	// for nothing.
	scalingTimeout = 5 * time.Minute
	// leastTimeout is the least that a policy can ask for: the replicas need some time
	// to come to the same conclusion. The CRD refuses less.
	leastTimeout = 30 * time.Second
	// doubt is how long a long-lived node has to have seemed to have room before the
	// scheduler is taken to know better, of what we do not reckon (spread, pod affinity,
	// volumes, host ports). Of a node that has just come, or room that has just become
	// free, it makes use within ten seconds, its longest pause between two tries of a
	// pod.
	doubt = 15 * time.Second
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
	since, waits := a.waitsSince(pod)
	if !waits || owner == nil || !makesAnother(owner.Kind) || !required(pod) {
		return
	}
	timeout, limited := a.timeout(policy)
	waited := a.now.Sub(since)
	if !limited || waited < timeout-notice || !a.elsewhere.Blocked(pod) {
		return
	}
	a.memory.pending[owner.UID] = a.now.Add(remembered)
	doubtful := a.doubtful(pod)
	// Not in the audit that noticed it first: the webhook beside us is yet to be told.
	if _, known := a.before.pending[owner.UID]; known && waited >= timeout && !doubtful {
		a.readmissions = append(a.readmissions, Readmission{Pod: pod, Policy: policy, Waited: waited})
	}
}

// required says whether it was we who required a long-lived node. An author may write
// the same into his template, and the next pod would wait as long.
func required(pod *corev1.Pod) bool {
	record, found := placement.ReadRecord(pod)
	return found && record.Outcome == placement.PlacedRequired
}

// doubtful says whether the scheduler may be about to bind the pod to a long-lived node.
func (a *auditor) doubtful(pod *corev1.Pod) bool {
	if a.all.LongLivedNodes(pod, 1) == 0 {
		return false
	}
	since, seen := a.before.room[pod.UID]
	if !seen {
		since = a.now
	}
	a.memory.room[pod.UID] = since
	return a.now.Sub(since) < doubt
}

// timeout is how long a pod of the policy may wait; not limited, if for as long as it
// takes. Without a policy it is as with the mode Auto and a fixed pool.
func (a *auditor) timeout(policy string) (timeout time.Duration, limited bool) {
	if policy == "" {
		return pendingTimeout, true
	}
	switch spec := a.specs[policy]; {
	case spec.Mode == v1alpha1.Required || spec.Mode == v1alpha1.Preferred:
		return 0, false
	case spec.PendingTimeout != nil:
		return max(spec.PendingTimeout.Duration, leastTimeout), true
	case spec.LongLivedPool == v1alpha1.Autoscaled:
		return scalingTimeout, true
	}
	return pendingTimeout, true
}

// waitsSince says since when the scheduler has found no node for the pod. The condition
// of one that was gated has the time of its creation, since its status was False then as
// it is now: such a pod waits since it was last seen gated. A replica that has not seen
// that takes the condition at its word.
func (a *auditor) waitsSince(pod *corev1.Pod) (since time.Time, waits bool) {
	switch scheduled := unscheduled(pod); {
	case scheduled == nil:
		return time.Time{}, false
	case scheduled.Reason == corev1.PodReasonSchedulingGated:
		a.memory.gated[pod.UID] = a.now
		return time.Time{}, false
	case scheduled.Reason != corev1.PodReasonUnschedulable:
		return time.Time{}, false
	default:
		since = scheduled.LastTransitionTime.Time
	}
	if last, gated := a.before.gated[pod.UID]; gated {
		a.memory.gated[pod.UID] = last
		if last.After(since) {
			since = last
		}
	}
	return since, true
}

// unscheduled is the condition by which a pod without a node says why it has none; nil
// while it says nothing.
func unscheduled(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && pod.Spec.NodeName == "" {
			return c
		}
	}
	return nil
}
