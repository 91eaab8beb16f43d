package placement

import (
	"fmt"
	"strings"
)

// Reason says why a pod is placed as it is. The values are stable: they are metric
// labels, Event reasons and part of [DecisionAnnotation].
type Reason string

// The reasons to require a long-lived node.
const (
	// PolicyRequires: the policy's mode is Required.
	PolicyRequires Reason = "PolicyRequires"
	// PoolAutoscaled: the mode is Auto, and a pod that finds no room makes a
	// long-lived node.
	PoolAutoscaled Reason = "PoolAutoscaled"
	// EnoughLongLivedNodes: the mode is Auto, and at least two could run the pod.
	EnoughLongLivedNodes Reason = "EnoughLongLivedNodes"
	// AlreadyPlaced: the mode is Auto, and every term requires long-lived nodes.
	AlreadyPlaced Reason = "AlreadyPlaced"
)

// The reasons to prefer one.
const (
	// PolicyPrefers: the policy's mode is Preferred.
	PolicyPrefers Reason = "PolicyPrefers"
	// TooFewLongLivedNodes: the mode is Auto, and fewer than two could run the pod.
	TooFewLongLivedNodes Reason = "TooFewLongLivedNodes"
	// PendingBefore: the mode is Auto, and a pod of the same controller was lately
	// left Pending.
	PendingBefore Reason = "PendingBefore"
	// CapacityUnknown: the mode is Auto, and nobody knows the nodes.
	CapacityUnknown Reason = "CapacityUnknown"
)

// The reasons to leave a pod as it is.
const (
	// NoPolicy matches the pod.
	NoPolicy Reason = "NoPolicy"
	// OptedOut: the pod's annotation says so.
	OptedOut Reason = "OptedOut"
	// DaemonSetPod belongs to its node.
	DaemonSetPod Reason = "DaemonSetPod"
	// MirrorPod is the image of a static pod of the kubelet.
	MirrorPod Reason = "MirrorPod"
	// BoundPod names its node already.
	BoundPod Reason = "BoundPod"
	// AuthorChose: the author already chose by a label that marks spot nodes.
	AuthorChose Reason = "AuthorChose"
	// Contradiction: the author asks for spot nodes only; with our requirement the pod
	// would run nowhere.
	Contradiction Reason = "Contradiction"
	// EmptyTerms: every term of the affinity is empty, and so matches no node.
	EmptyTerms Reason = "EmptyTerms"
	// InvalidAffinity: the affinity has no terms, which the API server refuses.
	InvalidAffinity Reason = "InvalidAffinity"
	// TooManyTerms: with our requirement in each, the pod might be too large to store.
	TooManyTerms Reason = "TooManyTerms"
)

// explanation is what a reason means for the outcome and for people.
type explanation struct {
	outcome Outcome
	text    string
	// mend is true where somebody should change something.
	mend bool
}

var explanations = map[Reason]explanation{
	PolicyRequires:       {PlacedRequired, "the policy requires a long-lived node", false},
	PoolAutoscaled:       {PlacedRequired, "a long-lived node is required: the pool grows when a pod finds no room", false},
	EnoughLongLivedNodes: {PlacedRequired, "a long-lived node is required: at least two could run the pod", false},
	AlreadyPlaced:        {PlacedRequired, "the pod requires a long-lived node already", false},
	PolicyPrefers:        {PlacedPreferred, "the policy prefers a long-lived node", false},
	TooFewLongLivedNodes: {PlacedPreferred, "a long-lived node is preferred and not required: fewer than two could run the pod", true},
	PendingBefore:        {PlacedPreferred, "a long-lived node is preferred and not required: a pod of the same workload lately found no room on one", true},
	CapacityUnknown:      {PlacedPreferred, "a long-lived node is preferred and not required: the nodes are not known", false},
	NoPolicy:             {Unchanged, "no policy matches the pod", false},
	OptedOut:             {Unchanged, "the pod's annotation " + OverrideAnnotation + " says " + OverrideAny, false},
	DaemonSetPod:         {Unchanged, "the pod of a DaemonSet belongs to its node", false},
	MirrorPod:            {Unchanged, "the pod is the image of a static pod of its node", false},
	BoundPod:             {Unchanged, "the pod names its node", false},
	AuthorChose:          {Unchanged, "the pod's author already chose", false},
	Contradiction:        {Unchanged, "the pod asks for spot nodes only; with the policy it could run nowhere", true},
	EmptyTerms:           {Unchanged, "every term of the pod's node affinity is empty and matches no node", true},
	InvalidAffinity:      {Unchanged, "the pod's node affinity has no terms, which the API server refuses", false},
	TooManyTerms:         {Unchanged, fmt.Sprintf("the pod's node affinity has more than %d terms to add to", maxTerms), true},
}

// Reasons lists every reason, in no order, so that a metric can begin at zero.
func Reasons() []Reason {
	reasons := make([]Reason, 0, len(explanations))
	for reason := range explanations {
		reasons = append(reasons, reason)
	}
	return reasons
}

// Outcome is the one outcome that the reason leads to.
func (r Reason) Outcome() Outcome { return explanations[r].outcome }

// Actionable says whether somebody should hear of the decision, because the pod will
// not be where the policy wants it until something is changed.
func (d Decision) Actionable() bool {
	return explanations[d.Reason].mend || d.IgnoredOverride != ""
}

// Message says in a sentence or two what was decided and why. It begins in lower case
// and has no full stop at its end.
func (d Decision) Message() string {
	var message strings.Builder
	message.WriteString(explanations[d.Reason].text)
	if d.Key != "" {
		_, _ = fmt.Fprintf(&message, " (%s)", d.Key)
	}
	if d.Policy != "" {
		_, _ = fmt.Fprintf(&message, "; policy %q", d.Policy)
	}
	if len(d.Overlapped) > 0 {
		_, _ = fmt.Fprintf(&message, ", which wins over %q", d.Overlapped)
	}
	if d.IgnoredOverride != "" {
		// The value is whatever somebody wrote: an Event takes 1 KiB.
		_, _ = fmt.Fprintf(&message, "; annotation %s=%.64q is neither %s nor %s and is ignored",
			OverrideAnnotation, d.IgnoredOverride, OverrideLongLived, OverrideAny)
	}
	return message.String()
}
