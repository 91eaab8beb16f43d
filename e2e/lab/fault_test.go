package lab_test

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestNodesGoOnWhileTheAPIServerIsAway(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		leave  func(context.Context, *lab.Lab) error
		comeTo func(context.Context, *lab.Lab) error
	}{
		"It crashes": {
			leave:  func(_ context.Context, l *lab.Lab) error { return l.Kill(lab.APIServer) },
			comeTo: func(ctx context.Context, l *lab.Lab) error { return l.Restart(ctx, lab.APIServer) },
		},
		"It hangs": {
			leave:  func(_ context.Context, l *lab.Lab) error { return l.Pause(lab.APIServer) },
			comeTo: func(_ context.Context, l *lab.Lab) error { return l.Resume(lab.APIServer) },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			namespace := l.Namespace(t)
			node := l.Node(t, lab.NodeSpec{Name: "node"})
			runPod(t, l, namespace, "web", node.Name(), map[string]string{lab.ExitsAfter: "3s"})
			pods := l.Client().CoreV1().Pods(namespace)
			must(t, pods.Delete(t.Context(), "web", metav1.DeleteOptions{}))
			awaitRecord(t, l, namespace, "web", func(r lab.PodRecord) bool { return !r.ToldAt.IsZero() })
			must(t, test.leave(t.Context(), l))

			if _, err := pods.List(within(t, time.Second), metav1.ListOptions{}); err == nil {
				t.Error("the API server answers while it is away")
			}
			r := awaitRecord(t, l, namespace, "web", ended)
			if took := r.EndedAt.Sub(r.ToldAt); r.End != lab.Exited || took > 4*time.Second {
				t.Errorf("the pod's end: %s after %s, want that it exited after 3 s", r.End, took)
			}
			must(t, test.comeTo(t.Context(), l))
			must(t, l.WaitPods(within(t, time.Minute), namespace, "", func(pods []corev1.Pod) bool { return len(pods) == 0 }))
			must(t, l.WaitNode(within(t, time.Minute), "node", nodeReady))
			runPod(t, l, namespace, "next", node.Name(), nil)
		})
	}
}

func TestStoppedComponentDoesNothingUntilItIsRestarted(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	namespace := l.Namespace(t)
	l.Node(t, lab.NodeSpec{Name: "node"})
	must(t, l.Stop(lab.Scheduler))
	must(t, l.Stop(lab.ControllerManager))
	if err := l.Stop(lab.Scheduler); err == nil || l.PID(lab.Scheduler) != 0 {
		t.Errorf("stopping a stopped component: %v, want an error", err)
	}
	must(t, l.Apply(t.Context(), namespace, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: none}]}
`))
	exist := func(pods []corev1.Pod) bool { return len(pods) > 0 }
	if err := l.WaitPods(within(t, 2*time.Second), namespace, "", exist); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for pods without a controller manager: %v, want none until the deadline", err)
	}
	must(t, l.Restart(t.Context(), lab.ControllerManager))
	must(t, l.WaitPods(within(t, time.Minute), namespace, "", exist))
	if err := l.WaitPods(within(t, 2*time.Second), namespace, "", lab.AllReady(2)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for ready pods without a scheduler: %v, want none until the deadline", err)
	}
	must(t, l.Restart(t.Context(), lab.Scheduler))
	must(t, l.WaitPods(within(t, time.Minute), namespace, "", lab.AllReady(2)))

	// The whole control plane crashes and comes back with its data.
	for _, c := range lab.Components() {
		must(t, l.Kill(c))
	}
	for _, c := range lab.Components() {
		must(t, l.Restart(t.Context(), c))
	}
	must(t, l.WaitPods(within(t, time.Minute), namespace, "", lab.AllReady(2)))
	must(t, l.WaitNode(within(t, time.Minute), "node", nodeReady))
}

func nodeReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
