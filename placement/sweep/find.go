package sweep

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

// Leftover is what drains have left on one node.
type Leftover struct {
	// Name is the node's; Node is nil when there is no such node.
	Name string
	Node *corev1.Node
	// State is what the node carries; nil when only pods carry something, or when it
	// cannot be read, which Err says then.
	State *drain.State
	Err   error
	// Handed are its pods that are handed over and not ending.
	Handed []*corev1.Pod
}

// Find returns what is left, by the names of the nodes. The pods may be all of them, or
// those with the label [drain.HandedOverKey] only.
func Find(nodes []*corev1.Node, pods []*corev1.Pod) map[string]Leftover {
	found, known := map[string]Leftover{}, make(map[string]*corev1.Node, len(nodes))
	for _, node := range nodes {
		known[node.Name] = node
		if state, err := drain.ReadState(node); state != nil || err != nil {
			found[node.Name] = Leftover{Name: node.Name, Node: node, State: state, Err: err}
		}
	}
	for _, pod := range pods {
		if !isHanded(pod) {
			continue
		}
		left, more := found[pod.Spec.NodeName]
		if !more {
			left = Leftover{Name: pod.Spec.NodeName, Node: known[pod.Spec.NodeName]}
		}
		left.Handed = append(left.Handed, pod)
		found[pod.Spec.NodeName] = left
	}
	return found
}

// isHanded says whether a drain or a rescue has handed the pod over, and it is there
// still. The label alone may be somebody else's.
func isHanded(pod *corev1.Pod) bool {
	if _, labelled := pod.Labels[drain.HandedOverKey]; !labelled || pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil {
		return false
	}
	handOver, err := drain.HandOverOf(pod)
	return err == nil && handOver != nil
}

// String says what is left, on one line.
func (l Leftover) String() string {
	pods := fmt.Sprintf("%d pods handed over", len(l.Handed))
	if l.State == nil {
		return pods
	}
	if l.State.Advice != "" {
		return fmt.Sprintf("%s, followed until %s, %s", l.State.Kind, l.State.Deadline.Format(time.RFC3339), pods)
	}
	return fmt.Sprintf("%s of %s, %s", l.State.Kind, l.State.Deadline.Format(time.RFC3339), pods)
}
