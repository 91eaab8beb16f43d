package lab_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestDeletedPodLeavesTheAPIOnlyWhenItsNodeSaysSo(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	tests := map[string]struct {
		exitsAfter string
		grace      int64
		end        lab.End
		lasts      time.Duration
	}{
		"It exits by itself":               {exitsAfter: "2s", grace: 30, end: lab.Exited, lasts: 2 * time.Second},
		"It is killed at the grace's end":  {exitsAfter: "1m", grace: 3, end: lab.Killed, lasts: 3 * time.Second},
		"It exits before anybody can look": {exitsAfter: "0s", grace: 30, end: lab.Exited, lasts: 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := l.Namespace(t)
			node := l.Node(t, lab.NodeSpec{Name: namespace})
			pod := runPod(t, l, namespace, "web", node.Name(), map[string]string{lab.ReadyAfter: "0s", lab.ExitsAfter: test.exitsAfter})
			must(t, l.Client().CoreV1().Pods(namespace).Delete(t.Context(), "web", metav1.DeleteOptions{GracePeriodSeconds: &test.grace}))
			must(t, l.WaitPods(within(t, time.Minute), namespace, "", func(pods []corev1.Pod) bool { return len(pods) == 0 }))
			gone := time.Now()

			r := awaitRecord(t, l, namespace, "web", ended)
			if r.End != test.end || r.UID != pod.UID || r.Node != node.Name() {
				t.Errorf("record = %+v, want %s, uid %s, node %s", r, test.end, pod.UID, node.Name())
			}
			if r.Grace != time.Duration(test.grace)*time.Second {
				t.Errorf("grace = %s, want %d s", r.Grace, test.grace)
			}
			if took := r.EndedAt.Sub(r.ToldAt); took < test.lasts || took > test.lasts+time.Second {
				t.Errorf("the pod took %s to end, want %s", took, test.lasts)
			}
			if gone.Before(r.EndedAt) {
				t.Errorf("the API had no such pod at %s, before it ended at %s", gone, r.EndedAt)
			}
		})
	}
}

func TestPodsOnDeadNodeStayInTheAPIAndAreLost(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	node := l.Node(t, lab.NodeSpec{Name: namespace})
	runPod(t, l, namespace, "running", node.Name(), nil)
	runPod(t, l, namespace, "stopping", node.Name(), map[string]string{lab.ExitsAfter: "20s"})
	runPod(t, l, namespace, "stopped", node.Name(), nil)
	pods := l.Client().CoreV1().Pods(namespace)
	must(t, pods.Delete(t.Context(), "stopped", metav1.DeleteOptions{}))
	must(t, pods.Delete(t.Context(), "stopping", metav1.DeleteOptions{}))
	awaitRecord(t, l, namespace, "stopped", ended)
	must(t, l.WaitPods(within(t, time.Minute), namespace, "app=stopped", func(pods []corev1.Pod) bool { return len(pods) == 0 }))
	awaitRecord(t, l, namespace, "stopping", func(r lab.PodRecord) bool { return !r.ToldAt.IsZero() })
	node.Die()

	want := map[string]lab.End{"running": lab.Lost, "stopping": lab.Lost, "stopped": lab.Exited}
	for name, end := range want {
		if r := awaitRecord(t, l, namespace, name, ended); r.End != end {
			t.Errorf("pod %q: %s, want %s", name, r.End, end)
		}
	}
	for _, name := range []string{"running", "stopping"} {
		if _, err := pods.Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Errorf("reading pod %q of the dead node: %v, want that it is still there", name, err)
		}
	}
}

func TestJobCompletesByItself(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	node := l.Node(t, lab.NodeSpec{Name: namespace})
	must(t, l.Apply(t.Context(), namespace, `
apiVersion: batch/v1
kind: Job
metadata: {name: report}
spec:
  template:
    metadata: {annotations: {`+lab.CompletesAfter+`: 1s}}
    spec:
      restartPolicy: Never
      nodeSelector: {kubernetes.io/hostname: `+node.Name()+`}
      containers: [{name: main, image: none}]
`))
	var name string
	must(t, l.WaitPods(within(t, time.Minute), namespace, "job-name=report", func(pods []corev1.Pod) bool {
		if len(pods) != 1 || pods[0].Status.Phase != corev1.PodSucceeded {
			return false
		}
		name = pods[0].Name
		return true
	}))
	r := awaitRecord(t, l, namespace, name, ended)
	if r.End != lab.Completed || !r.ToldAt.IsZero() || r.OwnerKind != "Job" || r.OwnerName != "report" {
		t.Errorf("record = %+v, want a pod of Job report that completed untold", r)
	}
}

func TestDaemonSetRunsOnEveryNodeAndFollowsNewOnes(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	labels := map[string]string{"pool": namespace}
	l.Node(t, lab.NodeSpec{Name: namespace + "-a", Labels: labels})
	must(t, l.Apply(t.Context(), namespace, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      nodeSelector: {pool: `+namespace+`}
      containers: [{name: main, image: none}]
`))
	must(t, l.WaitPods(within(t, time.Minute), namespace, "app=agent", lab.AllReady(1)))
	l.Node(t, lab.NodeSpec{Name: namespace + "-b", Labels: labels})
	must(t, l.WaitPods(within(t, time.Minute), namespace, "app=agent", lab.AllReady(2)))
}

func TestNodeIsWhatItsSpecSays(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	taint := corev1.Taint{Key: "spot", Value: "yes", Effect: corev1.TaintEffectNoSchedule}
	added := l.Node(t, lab.NodeSpec{
		Name: namespace, ProviderID: "aws:///eu-west-1a/i-0123456789abcdef0", Taints: []corev1.Taint{taint},
		Labels: map[string]string{"pool": "spot"}, Annotations: map[string]string{"owner": "tests"},
	})
	node, err := l.Client().CoreV1().Nodes().Get(t.Context(), added.Name(), metav1.GetOptions{})
	must(t, err)
	if node.Labels["pool"] != "spot" || node.Labels[corev1.LabelHostname] != namespace || node.Annotations["owner"] != "tests" {
		t.Errorf("labels = %v, annotations = %v, want those of the spec and the host's name", node.Labels, node.Annotations)
	}
	if len(node.Spec.Taints) != 1 || node.Spec.Taints[0] != taint {
		t.Errorf("taints = %v, want only %v: the node is returned when it can be used", node.Spec.Taints, taint)
	}
	if node.Spec.ProviderID != "aws:///eu-west-1a/i-0123456789abcdef0" {
		t.Errorf("provider id = %q, want that of the spec", node.Spec.ProviderID)
	}
	if _, err := l.AddNode(t.Context(), lab.NodeSpec{Name: namespace}); err == nil {
		t.Error("adding a second node of the same name succeeded")
	}
}

func TestNodeWithReadyDelayIsNotReadyAtFirst(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	began := time.Now()
	node := l.Node(t, lab.NodeSpec{Name: namespace, ReadyDelay: 2 * time.Second})
	must(t, l.Apply(t.Context(), namespace, podYAML("web", node.Name(), map[string]string{lab.ReadyAfter: "0s"})))
	must(t, l.WaitPods(within(t, time.Minute), namespace, "", lab.AllReady(1)))
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("a pod ran after %s on a node that is Ready after 2 s", took)
	}
}

func TestRemovedNodeIsGoneAndItsNameFree(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	node := l.Node(t, lab.NodeSpec{Name: namespace})
	runPod(t, l, namespace, "web", node.Name(), nil)
	must(t, node.Remove(t.Context()))
	if r := awaitRecord(t, l, namespace, "web", ended); r.End != lab.Lost {
		t.Errorf("the pod of a removed node: %s, want %s", r.End, lab.Lost)
	}
	if _, err := l.Client().CoreV1().Nodes().Get(t.Context(), namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("reading the removed node: %v, want not found", err)
	}
	next := l.Node(t, lab.NodeSpec{Name: namespace})
	runPod(t, l, namespace, "web-again", next.Name(), nil)
}

func TestPodWithUnreadableAnnotationSaysSo(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	node := l.Node(t, lab.NodeSpec{Name: namespace})
	must(t, l.Apply(t.Context(), namespace, podYAML("web", node.Name(), map[string]string{lab.ExitsAfter: "soon"})))
	must(t, l.WaitPods(within(t, time.Minute), namespace, "", func(pods []corev1.Pod) bool {
		return len(pods) == 1 && pods[0].Status.Phase == corev1.PodPending &&
			contains(pods[0].Status.Message, `annotation "lab.ebbtide.dev/exits-after" is neither a duration nor "never": "soon"`)
	}))
}
