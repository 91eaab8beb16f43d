package security

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

// The requests that a thief makes. All are rehearsals: admission judges them like any
// other, and whoever comes through has changed nothing for the next.
var rehearsed = []string{metav1.DryRunAll}

// Patches as the agent writes them, in short.
const (
	cordon       = `{"metadata":{"annotations":{"ebbtide.dev/interruption":"{}"}},"spec":{"unschedulable":true}}`
	annotateNode = `{"metadata":{"annotations":{"ebbtide.dev/interruption":"{}"}}}`
	announce     = `{"metadata":{"annotations":{"ebbtide.dev/deadline":"2026-01-01T00:00:00Z"}}}`
	// keep is the taint that the scene's node has.
	keep    = `{"key":"example.com/keep","effect":"PreferNoSchedule"}`
	disrupt = `{"status":{"conditions":[{"type":"DisruptionTarget","status":"True","reason":"TerminationByEbbtide"}]}}`
)

func patchNode(ctx context.Context, client kubernetes.Interface, name, patch string) error {
	_, err := client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{DryRun: rehearsed})
	return err
}

func patchPod(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, subresource, patch string) error {
	_, err := client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(patch),
		metav1.PatchOptions{DryRun: rehearsed}, subresources(subresource)...)
	return err
}

// replaceInPod is for owners, which a strategic patch merges by UID.
func replaceInPod(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, patch string) error {
	_, err := client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: rehearsed})
	return err
}

func subresources(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

func deletePod(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, options metav1.DeleteOptions) error {
	options.DryRun = rehearsed
	return client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, options)
}

func evict(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, options metav1.DeleteOptions) error {
	options.DryRun = rehearsed
	return client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, DeleteOptions: &options,
	})
}

// byUID is what a deletion or eviction of the pod, and of no namesake, asks for.
func byUID(pod *corev1.Pod) metav1.DeleteOptions {
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}}
}

// graceless is the same without time to stop.
func graceless(pod *corev1.Pod) metav1.DeleteOptions {
	options := byUID(pod)
	options.GracePeriodSeconds = new(int64)
	return options
}

func tell(ctx context.Context, client kubernetes.Interface, event *eventsv1.Event) error {
	_, err := client.EventsV1().Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{DryRun: rehearsed})
	return err
}

// aboutNode is an Event about a node, as the agent of the node own writes it.
func (s *scene) aboutNode(node string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{GenerateName: "stolen-", Namespace: metav1.NamespaceDefault},
		EventTime:           metav1.NowMicro(),
		ReportingController: "ebbtide.dev/agent", ReportingInstance: s.own.Name(),
		Type: corev1.EventTypeNormal, Reason: "NodeDrained", Action: "DrainNode",
		Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node},
	}
}

// aboutPod is an Event about a pod, related to a node.
func (s *scene) aboutPod(pod *corev1.Pod, node string) *eventsv1.Event {
	event := s.aboutNode(node)
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
