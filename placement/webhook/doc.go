// Package webhook answers the API server when it asks about a pod that is being
// created, with what [placement.Decide] decides.
//
// It stands in the path of every pod of a cluster, and so promises four things. It
// never refuses a pod: what it cannot answer it answers by letting the pod through
// unplaced, for the auditor to find. It asks nobody: what it knows of policies,
// namespaces and nodes comes from memory. It holds nobody up: what is slow, such as
// writing an Event, is done by somebody else later. And nothing goes unseen: every
// answer is counted under its reason.
package webhook
