package lab_test

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// markUnknown does what the controller manager does to a node that it has not heard of.
func markUnknown(t *testing.T, l *lab.Lab, node string) {
	t.Helper()
	_, err := l.Client().CoreV1().Nodes().Patch(t.Context(), node, types.StrategicMergePatchType,
		[]byte(`{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"NodeStatusUnknown"}]}}`), metav1.PatchOptions{}, "status")
	must(t, err)
}

func TestLiveNodeContradictsThatItIsUnknownAndDeadOneDoesNot(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	live, dead := l.Node(t, lab.NodeSpec{Name: namespace + "-live"}), l.Node(t, lab.NodeSpec{Name: namespace + "-dead"})
	dead.Die()
	markUnknown(t, l, dead.Name()) // first, so that it had the longer time to answer
	markUnknown(t, l, live.Name())
	must(t, l.WaitNode(within(t, time.Minute), live.Name(), nodeReady))
	node, err := l.Client().CoreV1().Nodes().Get(t.Context(), dead.Name(), metav1.GetOptions{})
	must(t, err)
	if nodeReady(node) {
		t.Error("a dead node said that it is Ready")
	}
}

func TestNodeRenewsItsLease(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	name := l.Namespace(t)
	l.Node(t, lab.NodeSpec{Name: name})
	leases := l.Client().CoordinationV1().Leases(corev1.NamespaceNodeLease)
	watch, err := leases.Watch(within(t, time.Minute), metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String(),
	})
	must(t, err)
	defer watch.Stop()
	var first time.Time
	for event := range watch.ResultChan() {
		lease, ok := event.Object.(*coordinationv1.Lease)
		if !ok || lease.Spec.RenewTime == nil {
			t.Fatalf("event = %+v, want a lease with its time", event)
		}
		switch renewed := lease.Spec.RenewTime.Time; {
		case first.IsZero():
			first = renewed
		case renewed.After(first):
			return
		}
	}
	t.Error("the lease was not renewed within a minute")
}
