package drain

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SkipReason says why a pod of the node is left alone. The values are stable.
type SkipReason string

// The reasons. The first filter that speaks gives the reason.
const (
	// MirrorPod: the kubelet runs it from a file or on the node's own behalf;
	// deleting it in the API stops nothing.
	MirrorPod SkipReason = "MirrorPod"
	// FinishedPod: its containers have ended, there is nothing to stop.
	FinishedPod SkipReason = "FinishedPod"
	// DaemonSetPod: it belongs to the node, and its controller would put it
	// back at once.
	DaemonSetPod SkipReason = "DaemonSetPod"
	// ReturnedPod: it tolerates the taint and came back after its like had
	// been moved; nothing but the end of the machine keeps it away. The soft taint of
	// an advice every pod tolerates, and none that was put here in spite of it is
	// moved: the scheduler found no better place.
	ReturnedPod SkipReason = "ReturnedPod"
	// NotCritical: an advice is not worth its disruption; see [Selection].
	NotCritical SkipReason = "NotCritical"
	// UnmanagedPod: no controller would make another of it, and an advice must not end
	// what the machine may outlive.
	UnmanagedPod SkipReason = "UnmanagedPod"
	// WaitsForCompletion: it asks to run for as long as the machine does, and an advice
	// does not end that.
	WaitsForCompletion SkipReason = "WaitsForCompletion"
)

// filter gives a reason to leave the pod alone, or none.
type filter func(pod *corev1.Pod) SkipReason

// filters lists the rules in the order in which they are asked; a pod that all
// of them let through is moved. They are `kubectl drain`'s, and a test holds
// them to it, with two differences: they ask the API server nothing, and they
// never refuse a whole drain for one pod. Unmanaged pods and pods with emptyDir
// volumes die with the machine, so they are told. An advice leaves more alone; see
// [Policy.Only]. (kubectl's own filters are not linked: they bring 24 MiB of kubectl
// onto every node.)
func filters(policy Policy) []filter {
	rules := []filter{skipMirror, skipFinished}
	if !policy.DaemonSets || policy.Only != nil {
		rules = append(rules, skipDaemonSet)
	}
	if policy.Only != nil {
		rules = append(rules, policy.Only.skip, skipUnmanaged, skipWaiting)
	}
	return rules
}

func skipMirror(pod *corev1.Pod) SkipReason {
	owner := metav1.GetControllerOf(pod)
	ownedByNode := owner != nil && owner.APIVersion == "v1" && owner.Kind == "Node"
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror || ownedByNode {
		return MirrorPod
	}
	return ""
}

func skipFinished(pod *corev1.Pod) SkipReason {
	if finished(pod) {
		return FinishedPod
	}
	return ""
}

func skipDaemonSet(pod *corev1.Pod) SkipReason {
	if ownedBy(pod, "DaemonSet") {
		return DaemonSetPod
	}
	return ""
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func ownedBy(pod *corev1.Pod, kind string) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == kind && owner.APIVersion == "apps/v1"
}

// Class is the group that a pod leaves in.
type Class string

// The classes, in the order in which they start.
const (
	// Stateful pods start first: their replacement is only made when they are
	// gone, and a volume has to come off this machine before it goes onto the
	// next.
	Stateful Class = "Stateful"
	// Workload is every other pod.
	Workload Class = "Workload"
	// System pods (DNS, admission webhooks, system-critical priorities) start
	// when all others are gone or their own time is near: the others need them
	// to end well.
	System Class = "System"
	// Daemon pods come after everything, and only where the policy asks.
	Daemon Class = "Daemon"
)

// rank orders the classes.
var rank = map[Class]int{Stateful: 0, Workload: 1, System: 2, Daemon: 3}

// systemPriority is the priority from which a pod counts as system-critical:
// the value of system-cluster-critical, the lower of the two built-in classes.
const systemPriority = 2_000_000_000

func classify(pod *corev1.Pod) Class {
	switch {
	case ownedBy(pod, "DaemonSet"):
		return Daemon
	case systemCritical(pod):
		return System
	case ownedBy(pod, "StatefulSet"), hasClaims(pod):
		return Stateful
	default:
		return Workload
	}
}

func systemCritical(pod *corev1.Pod) bool {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= systemPriority {
		return true
	}
	dns := pod.Namespace == metav1.NamespaceSystem && pod.Labels["k8s-app"] == "kube-dns"
	// The recommended label that cert-manager and others give to the servers
	// of their admission webhooks.
	return dns || pod.Labels["app.kubernetes.io/component"] == "webhook"
}

// hasClaims says whether the pod mounts volumes that must be detached from this
// machine before another one can mount them.
func hasClaims(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].PersistentVolumeClaim != nil || pod.Spec.Volumes[i].Ephemeral != nil {
			return true
		}
	}
	return false
}

// maxGrace is more than any machine is given and still leaves room to reckon
// with: the API takes graces that no Duration holds.
const maxGrace = 100 * 365 * 24 * time.Hour

// ownGrace is the pod's own grace period, at least one second: to the API zero
// means "drop it at once".
func ownGrace(pod *corev1.Pod) time.Duration {
	if pod.Spec.TerminationGracePeriodSeconds == nil {
		return DefaultGrace
	}
	seconds := min(*pod.Spec.TerminationGracePeriodSeconds, int64(maxGrace/time.Second))
	return time.Duration(max(1, seconds)) * time.Second
}

func priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// toleratesInterruption says whether the scheduler may still put the pod onto a
// node that carries our taint and is marked unschedulable.
func toleratesInterruption(pod *corev1.Pod) bool {
	return tolerates(pod, TaintKey) && tolerates(pod, corev1.TaintNodeUnschedulable)
}

// tolerates ignores the taint's value: a toleration for one kind of notice is
// as good as one for all when the question is whether a pod may come back.
func tolerates(pod *corev1.Pod, key string) bool {
	for _, t := range pod.Spec.Tolerations {
		keyed := t.Key == key || t.Key == "" && t.Operator == corev1.TolerationOpExists
		if keyed && (t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule) {
			return true
		}
	}
	return false
}
