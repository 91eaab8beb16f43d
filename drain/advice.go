package drain

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An advice is no interruption: the machine may live on for hours, or for ever. A node
// is marked softly for it, by a taint that the scheduler avoids where it can, and pods
// that are worth it leave gently; see [Policy.Only]. When it lapses the node is put back
// as after a drain.

// mostPause is the longest pause of an advice between two tries about one pod. What is
// in its way may stay for the whole hour, and rebalance advices come to many nodes at a
// time.
const mostPause = 30 * time.Second

// ErrUnderDrain says that a node carries the state of a drain of this boot, which an
// advice never softens.
var ErrUnderDrain = errors.New("it is under a drain")

// Selection says which pods an advice moves.
type Selection struct {
	// Priority is the priority from which on pods are moved; nil moves none for its
	// priority.
	Priority *int32 `json:"priority,omitempty"`
}

// skip leaves alone what is not selected. The word of the pod's author comes before its
// priority; a value that is no word counts as none.
func (s *Selection) skip(pod *corev1.Pod) SkipReason {
	switch pod.Annotations[CriticalAnnotation] {
	case "true":
		return ""
	case "false":
		return NotCritical
	}
	if s.Priority != nil && priority(pod) >= *s.Priority {
		return ""
	}
	return NotCritical
}

// skipUnmanaged leaves alone a pod that nobody would make anew.
func skipUnmanaged(pod *corev1.Pod) SkipReason {
	if metav1.GetControllerOf(pod) == nil {
		return UnmanagedPod
	}
	return ""
}

// skipWaiting leaves alone a pod that asks to run until its latest moment: where nobody
// takes the machine away, there is none.
func skipWaiting(pod *corev1.Pod) SkipReason {
	if pod.Annotations[WaitAnnotation] == "true" {
		return WaitsForCompletion
	}
	return ""
}

// softMark is what markPatch writes for an advice: the taint is a preference, and
// unschedulable stays what others made it. What a drain of another boot did to the node
// is taken back in the same patch.
func softMark(node *corev1.Node, state State, now time.Time) (nodePatch, State) {
	state.Cordoned, state.Excluded = false, false
	earlier, err := ReadState(node)
	if err != nil || earlier == nil {
		earlier = &State{}
	}
	state.keepDeadline(*earlier, now)
	patch := statePatch(node, state)
	taints := withTaint(node, state.Kind, corev1.TaintEffectPreferNoSchedule)
	patch.Spec = &nodeSpecPatch{Taints: &taints}
	earlier.putBack(&patch)
	return patch, state
}

// isUnderDrain says whether node carries a drain that an advice for boot must leave as it
// is: it goes on, or whoever knows better than an advice takes it back.
func isUnderDrain(node *corev1.Node, boot string) bool {
	state, err := ReadState(node)
	return err == nil && state != nil && state.Advice == "" && !state.PutBack && state.BootID == boot
}

// unhurried is how long is waited before the next try where a drain would wait for
// delay: an advice waits for as long as it has waited before, up to mostPause. A try at
// once stays one.
func (p *progress) unhurried(delay time.Duration, now time.Time) time.Duration {
	if !p.advised || delay == 0 {
		return delay
	}
	if p.heldUpSince.IsZero() {
		p.heldUpSince = now
	}
	return max(delay, min(now.Sub(p.heldUpSince), mostPause))
}
