package cluster

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// The words that are looked for. They are matched as text: the packages that define them
// are large, and are released with programs that we do not choose.
const (
	// karpenterTaint is put on by Karpenter before it deletes the Node, and taken off
	// again if it thinks better of it (sigs.k8s.io/karpenter, pkg/apis/v1/taints.go).
	karpenterTaint = "karpenter.sh/disrupted"
	// karpenterEnd is when Karpenter terminates the machine whatever still runs there, as
	// RFC 3339 (pkg/apis/v1/labels.go). Karpenter writes it to the NodeClaim, which is
	// not ours to read; it counts where somebody has copied it to the Node.
	karpenterEnd = "karpenter.sh/nodeclaim-termination-timestamp"
	// autoscalerTaint is put on by Cluster Autoscaler before it drains the node, with the
	// moment in Unix seconds, and taken off again if the scale-down fails
	// (kubernetes/autoscaler, cluster-autoscaler/utils/taints/taints.go).
	autoscalerTaint = "ToBeDeletedByClusterAutoscaler"
	// gkeTaint is put on by GKE before a machine is terminated (the same file).
	gkeTaint = "cloud.google.com/impending-node-termination"
	// kubeletReason and kubeletMessage are how a kubelet says that it shuts down with
	// the machine. The message stands among others (k8s.io/kubernetes, pkg/kubelet:
	// nodestatus/setters.go and nodeshutdown/nodeshutdown_manager_linux.go).
	kubeletReason  = "KubeletNotReady"
	kubeletMessage = "node is shutting down"
)

const (
	// patience is how long a notice of the cluster is taken to be where nobody names a
	// moment: Karpenter waits for its drain as long as that takes, and GKE gives machines
	// with accelerators, which it cannot migrate, an hour.
	patience = time.Hour
	// autoscalerNotice is what Cluster Autoscaler gives pods at most by default
	// (--max-graceful-termination-sec).
	autoscalerNotice = 10 * time.Minute
	// longestGrace is more than anybody lets Karpenter wait (terminationGracePeriod).
	longestGrace = 30 * 24 * time.Hour
	// shutdownNotice stands for the kubelet's shutdownGracePeriod, which the Node does not
	// tell. The kubelet stops every pod by itself: to think it shorter than it is would
	// only take from the pods what the kubelet grants them.
	shutdownNotice = 2 * time.Minute
)

// read returns what node says is about to happen to it. Times are by the clocks of those
// who wrote them, and nothing depends on now: the same Node gives the same sightings.
func read(node *corev1.Node) []agent.Sighting {
	var found []agent.Sighting
	for _, look := range []func(*corev1.Node) (agent.Sighting, bool){disruption, shutdown} {
		if sighting, is := look(node); is {
			found = append(found, sighting)
		}
	}
	return found
}

// removal is what was seen of a Node that is taken away, as [agent.Sighting]'s Raw.
type removal struct {
	Taints     []corev1.Taint `json:"taints,omitempty"`
	Deleted    *metav1.Time   `json:"deletionTimestamp,omitempty"`
	Finalizers []string       `json:"finalizers,omitempty"`
	// End is the value of karpenterEnd.
	End string `json:"terminationTimestamp,omitempty"`
}

// disruption is that the Node is taken away, by whoever. It is one sighting however many
// say so, since a taint comes first and the deletion after: the same notice goes on.
func disruption(node *corev1.Node) (sighting agent.Sighting, is bool) {
	sighting = agent.Sighting{
		ID: "kubernetes-disruption-" + string(node.UID), Kind: agent.ClusterDisruption,
		Action: agent.Terminate, State: agent.Scheduled, Nominal: patience,
	}
	var seen removal
	for _, taint := range node.Spec.Taints {
		if taint.Effect != corev1.TaintEffectNoSchedule {
			continue
		}
		switch taint.Key {
		case autoscalerTaint:
			sighting.Emitted, sighting.Nominal = unixSeconds(taint.Value), autoscalerNotice
		case karpenterTaint, gkeTaint:
		default:
			continue
		}
		seen.Taints = append(seen.Taints, taint)
	}
	if node.DeletionTimestamp != nil {
		// What waits for a finalizer cannot be taken back, whoever's finalizer it is.
		sighting.State = agent.Started
		if sighting.Emitted.IsZero() {
			sighting.Emitted = node.DeletionTimestamp.UTC()
		}
		seen.Deleted, seen.Finalizers = node.DeletionTimestamp, node.Finalizers
	}
	if len(seen.Taints) == 0 && seen.Deleted == nil {
		return agent.Sighting{}, false
	}
	seen.End = node.Annotations[karpenterEnd]
	if end, err := time.Parse(time.RFC3339, seen.End); err == nil {
		// Not the earliest: Karpenter goes ahead before that once the node is empty, and
		// exactly then if it is not.
		sighting.At, sighting.AtKind, sighting.Nominal = end.UTC(), agent.Exact, longestGrace
	}
	sighting.Raw = raw(seen)
	return sighting, true
}

// unixSeconds is a moment as Cluster Autoscaler writes it; zero if it cannot be read.
func unixSeconds(text string) time.Time {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// unready is what was seen of a Node whose kubelet shuts down. The moment of its last
// heartbeat is left out: it moves, and says nothing.
type unready struct {
	Status  corev1.ConditionStatus `json:"ready"`
	Reason  string                 `json:"reason"`
	Message string                 `json:"message"`
	Since   metav1.Time            `json:"lastTransitionTime"`
}

// shutdown is that the kubelet ends its pods because the machine goes down; for good, or
// to come back. A shutdown that is called off makes the Node Ready again.
func shutdown(node *corev1.Node) (sighting agent.Sighting, is bool) {
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady || condition.Status != corev1.ConditionFalse ||
			condition.Reason != kubeletReason || !strings.Contains(condition.Message, kubeletMessage) {
			continue
		}
		return agent.Sighting{
			ID: "kubernetes-shutdown-" + string(node.UID), Kind: agent.NodeShutdown,
			Action: agent.Stop, State: agent.Started, Nominal: shutdownNotice,
			Raw: raw(unready{condition.Status, condition.Reason, condition.Message, condition.LastTransitionTime}),
		}, true
	}
	return agent.Sighting{}, false
}

// raw is what was seen as JSON of at most agent.MaxRaw bytes.
func raw(seen any) string {
	text, err := json.Marshal(seen)
	if err != nil {
		return err.Error() // these types have no value that cannot be encoded
	}
	return metadata.Cut(text, agent.MaxRaw)
}
