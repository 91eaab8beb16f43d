package drain

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Policy is what the operator chose about draining.
type Policy struct {
	// DaemonSets moves DaemonSet pods too, at the very end. Their controller
	// puts them back for as long as the machine lives.
	DaemonSets bool
	// VolumeDetach is kept after the end of a pod with persistent volumes, for
	// their unmount and detach. Zero keeps nothing.
	VolumeDetach time.Duration
	// HandOver says when pods of a Deployment are replaced before they go; empty
	// is HandOverWhenBlocked.
	HandOver HandOverPolicy
	// Gentle never passes a disruption budget and never shortens a grace: a pod that
	// cannot leave in that way and in time is left where it is, with the path
	// [Spared]. For drains of a machine that lives on.
	Gentle bool
	// Only is for an advice, of which nobody knows when the machine ends, if at all: of
	// the pods that are there when it begins just those that it selects are moved,
	// without hurry and without being told a deadline. Pods of DaemonSets, those that
	// nobody would replace and those that wait for their completion stay in any case.
	// It goes with Gentle. Nil is for a drain: every pod is moved.
	Only *Selection
}

// Action is what the plan does with a pod.
type Action string

// The actions.
const (
	// Evict: asked to leave through its budget, deleted at ForceAt.
	Evict Action = "Evict"
	// Await: on its way out already; it is watched and not touched, since
	// another grace would be ignored.
	Await Action = "Await"
)

// Move is one pod that has to leave.
type Move struct {
	PodRef
	Action   Action `json:"action"`
	Class    Class  `json:"class"`
	Priority int32  `json:"priority"`
	// GraceSeconds is the pod's own grace, at least 1.
	GraceSeconds int64 `json:"graceSeconds"`
	// DetachSeconds is kept after its end for its volumes.
	DetachSeconds int64 `json:"detachSeconds,omitempty"`
	// NotBefore delays the first call; zero does not.
	NotBefore time.Time `json:"notBefore,omitzero"`
	// Announce is true when the pod asked to be told the deadline first.
	Announce bool `json:"announce,omitempty"`
	// ForceAt is when its budget is no longer honoured; see [Budget.ForceAt].
	ForceAt time.Time `json:"forceAt"`
}

// Grace is the pod's own grace.
func (m Move) Grace() time.Duration { return time.Duration(m.GraceSeconds) * time.Second }

// Detach is the time kept after the pod's end for its volumes.
func (m Move) Detach() time.Duration { return time.Duration(m.DetachSeconds) * time.Second }

// Skip is one pod that stays, and why.
type Skip struct {
	PodRef
	Reason SkipReason `json:"reason"`
}

// Plan says for every pod of a node what happens to it, in order.
type Plan struct {
	Node     string    `json:"node"`
	Deadline time.Time `json:"deadline"`
	// ReserveSeconds is kept before the deadline; see [Budget.Reserve].
	ReserveSeconds float64 `json:"reserveSeconds"`
	Moves          []Move  `json:"moves"`
	Skips          []Skip  `json:"skips"`
}

// NewPlan decides about every pod in pods, the node's pods at one moment.
// Every one of them is in exactly one of Moves and Skips.
func NewPlan(node string, pods []corev1.Pod, budget Budget, policy Policy) Plan {
	plan := Plan{
		Node:           node,
		Deadline:       budget.Deadline,
		ReserveSeconds: budget.Reserve.Seconds(),
		Moves:          []Move{},
		Skips:          []Skip{},
	}
	for i := range pods {
		if move, reason := decide(&pods[i], budget, policy); reason != "" {
			plan.Skips = append(plan.Skips, Skip{PodRef: move.PodRef, Reason: reason})
		} else {
			plan.Moves = append(plan.Moves, move)
		}
	}
	slices.SortFunc(plan.Moves, before)
	return plan
}

// Join decides about a pod that was bound after the snapshot. One that the
// scheduler put here in spite of the taint would come back for ever: it keeps
// running until its own latest moment, and is left alone when that has passed. An
// advice leaves it alone at once.
func Join(pod *corev1.Pod, budget Budget, policy Policy, now time.Time) (Move, SkipReason) {
	move, reason := decide(pod, budget, policy)
	soft := policy.Only != nil
	if reason != "" || move.Action != Evict || !soft && !toleratesInterruption(pod) {
		return move, reason
	}
	if soft || now.After(move.ForceAt) {
		return move, ReturnedPod
	}
	move.NotBefore = move.ForceAt
	return move, ""
}

func decide(pod *corev1.Pod, budget Budget, policy Policy) (Move, SkipReason) {
	move := Move{
		PodRef:       PodRef{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Action:       Evict,
		Class:        classify(pod),
		Priority:     priority(pod),
		GraceSeconds: int64(ownGrace(pod) / time.Second),
	}
	for _, filter := range filters(policy) {
		if reason := filter(pod); reason != "" {
			return move, reason
		}
	}
	if pod.DeletionTimestamp != nil {
		move.Action = Await
	}
	if hasClaims(pod) {
		move.DetachSeconds = int64(policy.VolumeDetach / time.Second)
	}
	move.ForceAt = budget.ForceAt(move.Grace(), move.Detach())
	if pod.Annotations[WaitAnnotation] == "true" {
		move.NotBefore = move.ForceAt
	}
	_, asks := pod.Annotations[DeadlineAnnotation]
	move.Announce = asks && move.Action == Evict && policy.Only == nil
	return move, ""
}

// before orders moves by class; among stateful pods the longest grace goes
// first, among the others the highest priority and then the longest grace.
// Names settle the rest, so that the same pods always make the same plan.
func before(a, b Move) int {
	return cmp.Or(
		byRank(a, b),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.UID, b.UID),
	)
}

// byRank is before without the names: zero where nothing but these differ.
func byRank(a, b Move) int {
	byGrace := cmp.Compare(b.GraceSeconds, a.GraceSeconds)
	byPriority := cmp.Compare(b.Priority, a.Priority)
	if a.Class == Stateful {
		byPriority = 0
	}
	return cmp.Or(cmp.Compare(rank[a.Class], rank[b.Class]), byPriority, byGrace)
}

// skips says whether the plan leaves the pod alone.
func (p *Plan) skips(uid types.UID) bool {
	for i := range p.Skips {
		if p.Skips[i].UID == uid {
			return true
		}
	}
	return false
}
