// Package cluster watches this machine's own Node for what the cluster is about to do
// to it: Karpenter or Cluster Autoscaler taking it away, GKE announcing its end, somebody
// deleting it, and the kubelet shutting down with the machine. It needs no cloud.
//
// It is one watch of one object, held open, and one list every five minutes that proves
// that the API server would still tell. A metadata-only watch would not do: taints and
// conditions are no metadata, so that each of its events would cost a GET of the whole
// Node, and a change of the Node every few minutes is the rule (the kubelet reports its
// status, volumes and images; its heartbeats are Leases). The API server encodes an
// event of a whole Node once for all who watch Nodes, as each kubelet watches its own,
// and would have to cut out its metadata for us alone. A watch that selects one name
// costs it nothing while other Nodes change.
//
// "No notice" and "cannot see" are different answers. A Node that is not there, a watch
// that is refused or ends at once, a reply that cannot be read: each is an error.
//
// The taint node.cloudprovider.kubernetes.io/shutdown is not read. It says that the cloud
// has switched the machine off, so that whoever reads it on that machine reads it after
// the machine has come back. Nor are the soft taint of Cluster Autoscaler's deletion
// candidates, and what Ebbtide itself writes.
//
// Deadlines are the business of package agent.
package cluster
