package stolen

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Rehearsed is the dry run of each request.
var Rehearsed = []string{metav1.DryRunAll}

// Patches as the agent writes them, in short.
const (
	// AnnotateNode patches a node.
	AnnotateNode = `{"metadata":{"annotations":{"ebbtide.dev/interruption":"{}"}}}`
	// Announce patches a pod.
	Announce = `{"metadata":{"annotations":{"ebbtide.dev/deadline":"2026-01-01T00:00:00Z"}}}`
	// Disrupt patches a pod's status.
	Disrupt = `{"status":{"conditions":[{"type":"DisruptionTarget","status":"True","reason":"TerminationByEbbtide"}]}}`

	cordon = `{"metadata":{"annotations":{"ebbtide.dev/interruption":"{}"}},"spec":{"unschedulable":true}}`
)

// PatchNode patches a node by a strategic merge.
func PatchNode(ctx context.Context, client kubernetes.Interface, name, patch string) error {
	_, err := client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{DryRun: Rehearsed})
	return err
}

// PatchPod patches a pod, or a subresource of it, by a strategic merge. An empty
// subresource is the pod itself.
func PatchPod(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, subresource, patch string) error {
	_, err := client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(patch),
		metav1.PatchOptions{DryRun: Rehearsed}, subresources(subresource)...)
	return err
}

// replaceInPod is for owners, which a strategic patch merges by UID.
func replaceInPod(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, patch string) error {
	_, err := client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: Rehearsed})
	return err
}

func subresources(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

// DeletePod deletes a pod.
func DeletePod(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, options metav1.DeleteOptions) error {
	options.DryRun = Rehearsed
	return client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, options)
}

// Evict evicts a pod.
func Evict(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, options metav1.DeleteOptions) error {
	options.DryRun = Rehearsed
	return client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, DeleteOptions: &options,
	})
}

// ByUID is what a deletion or eviction of the pod, and of no namesake, asks for.
func ByUID(pod *corev1.Pod) metav1.DeleteOptions {
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}}
}

// Graceless is the same without time to stop.
func Graceless(pod *corev1.Pod) metav1.DeleteOptions {
	options := ByUID(pod)
	options.GracePeriodSeconds = new(int64)
	return options
}

// Tell creates an Event.
func Tell(ctx context.Context, client kubernetes.Interface, event *eventsv1.Event) error {
	_, err := client.EventsV1().Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{DryRun: Rehearsed})
	return err
}

// AboutNode is an Event about a node, as the agent of the node teller writes it.
func AboutNode(teller, node string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{GenerateName: "stolen-", Namespace: metav1.NamespaceDefault},
		EventTime:           metav1.NowMicro(),
		ReportingController: "ebbtide.dev/agent", ReportingInstance: teller,
		Type: corev1.EventTypeNormal, Reason: "NodeDrained", Action: "DrainNode",
		Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node},
	}
}

// aboutPod is an Event about a pod, related to a node.
func aboutPod(teller string, pod *corev1.Pod, node string) *eventsv1.Event {
	event := AboutNode(teller, node)
	event.Namespace = pod.Namespace
	event.Related = event.Regarding.DeepCopy()
	event.Regarding = corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
	return event
}

// note is what a pod that is handed over carries.
func note(hash string, replicaSet metav1.OwnerReference) string {
	return fmt.Sprintf(`{"hash":%q,"replicaSet":%q,"replicaSetUID":%q,"notice":"n","available":1}`, hash, replicaSet.Name, replicaSet.UID)
}

// handOver is the patch that hands a pod with a hash over to an owner.
func handOver(hash, note string, to metav1.OwnerReference) string {
	return fmt.Sprintf(`{"metadata":{"labels":{"pod-template-hash":null,"ebbtide.dev/handed-over":%q},"annotations":{"ebbtide.dev/handed-over":%q},`+
		`"ownerReferences":[{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q,"controller":true}]}}`,
		hash, note, to.APIVersion, to.Kind, to.Name, to.UID)
}

// takeBack is the patch that gives it back.
func takeBack(hash string, to metav1.OwnerReference) string {
	return fmt.Sprintf(`{"metadata":{"labels":{"pod-template-hash":%q,"ebbtide.dev/handed-over":null},"annotations":{"ebbtide.dev/handed-over":null,`+
		`"ebbtide.dev/deletion-cost":"","controller.kubernetes.io/pod-deletion-cost":"2147483647"},`+
		`"ownerReferences":[{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q,"controller":true}]}}`,
		hash, to.APIVersion, to.Kind, to.Name, to.UID)
}
