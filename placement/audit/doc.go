// Package audit looks after the pods that placement could not place: those that were
// created before a policy was, or while the webhook was down, and those that found no
// room on the nodes that they were sent to.
//
// [Audit] is the whole of the judgement, and pure: a cluster at one moment and what
// was known before go in; what each policy should say of itself, which pods wait in
// vain, which pod to move next, and what to remember come out. [SpotDaemonSets] judges
// the DaemonSets, whose pods the webhook never sees, in the same way.
//
// A pod that a policy of the mode Auto keeps waiting is deleted, so that its
// controller makes another, which the webhook only gives a preference. For that every
// replica of the webhook has to know that the pod waited, whichever of them deletes it
// and whichever is asked. Nothing is written down for it. Each replica watches the
// pods anyway, and by the same rule comes to the same conclusion a good while before
// anybody acts on it; and afterwards the pods that were let in carry the reason
// [placement.PendingBefore] in their annotation, from which a replica that was started
// since learns it. A status field would not do, for a pod that asks for a long-lived
// node by its own annotation may have no policy; an annotation on the workload would be
// a write to somebody else's object, which GitOps takes off again.
package audit
