// Package drain empties one Kubernetes node by a deadline.
//
// It knows Kubernetes and no cloud. A [Budget] divides the time that is left, a
// [Plan] says what happens to each pod of the node and in which order, a
// [Mover] carries the plan out against a [Node], and a list of [PodOutcome]
// says what became of it. Budget, plan, the reading of replies and the node's
// [State] are pure: no client, no logger, no clock.
//
// What the package promises: every pod that can be told to stop is told while
// the machine can still wait for it, with a grace period that the machine has;
// a PodDisruptionBudget is honoured until the pod's own latest moment and not a
// second longer; a pod is named by its UID in every call, so that its namesake
// on another node is never touched. What it does not promise: that a pod ends
// within its grace.
package drain
