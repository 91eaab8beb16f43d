package lab

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
)

// WaitPods returns when cond holds for the pods of a namespace (empty: of all) that
// match a label selector (empty: all), taken together. It follows a watch that
// survives the API server. cond must not change what the pods point at. When ctx
// ends first, the error tells the pods' last state.
func (l *Lab) WaitPods(ctx context.Context, namespace, selector string, cond func([]corev1.Pod) bool) error {
	pods, err := follow(ctx, l.client.CoreV1().RESTClient(), "pods", namespace,
		func(o *metav1.ListOptions) { o.LabelSelector = selector },
		func(pods []*corev1.Pod) bool { return cond(values(pods)) })
	if err != nil {
		return fmt.Errorf("waiting for pods %q in namespace %q: %w; last seen: %s", selector, namespace, err, describe(pods, describePod))
	}
	return nil
}

// WaitNode returns when cond holds for a node; it must not change the node, and is not
// asked while there is none of that name. When ctx ends first, the error tells the node's last state.
func (l *Lab) WaitNode(ctx context.Context, name string, cond func(*corev1.Node) bool) error {
	nodes, err := follow(ctx, l.client.CoreV1().RESTClient(), "nodes", metav1.NamespaceAll,
		func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		},
		func(nodes []*corev1.Node) bool { return len(nodes) == 1 && cond(nodes[0]) })
	if err != nil {
		return fmt.Errorf("waiting for node %q: %w; last seen: %s", name, err, describe(nodes, describeNode))
	}
	return nil
}

// PodReady says whether a pod is Ready and not about to stop.
func PodReady(pod corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// AllReady is a condition for [Lab.WaitPods]: exactly n pods, each one Ready and on a node.
func AllReady(n int) func([]corev1.Pod) bool {
	return func(pods []corev1.Pod) bool {
		for _, pod := range pods {
			if !PodReady(pod) {
				return false
			}
		}
		return len(pods) == n
	}
}

// follow mirrors objects until cond holds or ctx has ended, and returns the last of them.
func follow[T object](
	ctx context.Context, client rest.Interface, resource, namespace string,
	options func(*metav1.ListOptions), cond func([]T) bool,
) ([]T, error) {
	watching, stop := context.WithCancel(ctx)
	m := newMirror[T](nil)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		m.run(watching, client, resource, namespace, options)
	}()
	err := m.wait(ctx, cond)
	stop()
	<-finished
	return m.snapshot(), err
}

func values(pods []*corev1.Pod) []corev1.Pod {
	copies := make([]corev1.Pod, len(pods))
	for i, pod := range pods {
		copies[i] = *pod
	}
	return copies
}

func describe[T any](objects []T, one func(T) string) string {
	if len(objects) == 0 {
		return "none"
	}
	lines := make([]string, len(objects))
	for i, o := range objects {
		lines[i] = one(o)
	}
	return strings.Join(lines, "; ")
}

func describePod(pod *corev1.Pod) string {
	words := []string{pod.Name, string(pod.Status.Phase), "ready=" + fmt.Sprint(PodReady(*pod)), fmt.Sprintf("node=%q", pod.Spec.NodeName)}
	if pod.Status.Message != "" {
		words = append(words, fmt.Sprintf("message=%q", pod.Status.Message))
	}
	if pod.DeletionTimestamp != nil {
		words = append(words, "deleted")
	}
	for _, c := range pod.Status.Conditions { // why it is not on a node, or what disrupted it
		if c.Message != "" {
			words = append(words, fmt.Sprintf("%s=%q", c.Type, c.Message))
		}
	}
	return strings.Join(words, " ")
}

func describeNode(node *corev1.Node) string {
	taints := make([]string, len(node.Spec.Taints))
	for i, taint := range node.Spec.Taints {
		taints[i] = taint.ToString()
	}
	return fmt.Sprintf("%s ready=%t unschedulable=%t taints=%q annotations=%q",
		node.Name, isReady(node), node.Spec.Unschedulable, taints, node.Annotations)
}
