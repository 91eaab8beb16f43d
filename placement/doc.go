// Package placement keeps the pods that everything leans on (DNS, ingress) on
// long-lived nodes, by node affinity that is added as a pod is created.
//
// [Decide] is the whole of the decision: a pod, its namespace, the policies, what
// marks a spot node and what the long-lived nodes can hold go in; what is done, why,
// and the JSON Patch come out. It takes no client, no logger and no clock, and the
// webhook, the auditor and `ebbtide-placement explain` all ask it. What a policy
// says without a look at the cluster, [Render] says to the API server itself, as a
// MutatingAdmissionPolicy that comes to the same pods.
//
// Three things it never does: widen where a pod may run, make a pod that the API
// server would take into one that it refuses, and touch a pod that is not about to
// be scheduled.
package placement
