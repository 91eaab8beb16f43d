//go:build linux && e2e_nodes

package nodes_test

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes"
)

var (
	//go:embed testdata/workloads.yaml
	workloads string
	//go:embed testdata/clients.yaml
	clients string
)

// workloadPods is how many pods testdata/workloads.yaml makes.
const workloadPods = 30

// notice is what a cloud gives that gives two minutes.
const notice = 120 * time.Second

// scene is what is on the nodes that are about to be taken, and who needs it.
type scene struct {
	cluster   *nodes.Cluster
	namespace string
	// doomed are the nodes that have all workloads, and others those that live on.
	doomed, others []*nodes.Node
	// pods are those of the workloads when the scene was set.
	pods []corev1.Pod
	// ready is followed from then on.
	ready *readiness
	// set is since when every failure counts, and tried how many tries the clients'
	// containers had made by then: the first ones can be there before their node knows of
	// the servers.
	set   time.Time
	tried map[string]int
	// told is when the notices were given.
	told time.Time
}

// setScene puts the workloads on the doomed nodes and no others, and clients on all
// others. It returns when everything runs and every client has made a hundred tries.
func setScene(t *testing.T, cluster *nodes.Cluster, doomed ...*nodes.Node) *scene {
	t.Helper()
	s := &scene{cluster: cluster, namespace: cluster.Lab().Namespace(t), doomed: doomed}
	for _, node := range living(cluster) {
		if !slices.Contains(doomed, node) {
			s.others = append(s.others, node)
		}
	}
	// A node selector would bind the pods to nodes that die: their replacements have to find
	// another. Nothing else is created meanwhile, so nothing misses the other nodes.
	for _, node := range s.others {
		setSchedulable(t, cluster, node, false)
	}
	apply(t, cluster, s.namespace, workloads)
	must(t, cluster.Lab().WaitPods(within(t, 3*time.Minute), s.namespace, "", lab.AllReady(workloadPods)))
	for _, node := range s.others {
		setSchedulable(t, cluster, node, true)
	}
	list, err := cluster.Lab().Client().CoreV1().Pods(s.namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	s.pods = list.Items

	var names []string
	for _, node := range doomed {
		names = append(names, node.Name)
	}
	apply(t, cluster, s.namespace, strings.ReplaceAll(clients, "DOOMED", strings.Join(names, ", ")))
	must(t, cluster.Lab().WaitPods(within(t, 2*time.Minute), s.namespace, "app=client", lab.AllReady(len(s.others))))
	awaitTries(t, cluster, s.namespace, len(s.others), 100)
	s.set, s.tried = time.Now(), map[string]int{}
	for _, container := range clientContainers {
		s.tried[container] = tries(t, cluster, s.namespace, container)
	}
	s.ready = followReadiness(t, cluster, s.namespace)
	return s
}

// living returns the nodes that have not died.
func living(cluster *nodes.Cluster) []*nodes.Node {
	return slices.DeleteFunc(cluster.Nodes(), func(n *nodes.Node) bool { return !n.DiedAt().IsZero() })
}

// setSchedulable cordons a node as kubectl does, or ends that. It returns when the node's
// controller has put its taint on or taken it off, which is what the scheduler heeds.
func setSchedulable(t *testing.T, cluster *nodes.Cluster, node *nodes.Node, schedulable bool) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, !schedulable)
	_, err := cluster.Lab().Client().CoreV1().Nodes().Patch(t.Context(), node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	must(t, err)
	must(t, cluster.Lab().WaitNode(within(t, time.Minute), node.Name, func(n *corev1.Node) bool {
		tainted := slices.ContainsFunc(n.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == corev1.TaintNodeUnschedulable })
		return tainted != schedulable
	}))
}

// reclaim gives all doomed nodes their notice, within a second.
func (s *scene) reclaim(t *testing.T) {
	t.Helper()
	s.told = time.Now()
	for _, node := range s.doomed {
		must(t, node.Reclaim(t.Context(), notice))
	}
	if took := time.Since(s.told); took > time.Second {
		t.Errorf("the notices of %d nodes took %s, want a second at most", len(s.doomed), took)
	}
}

// awaitMoving returns in the middle of the drain: when so many of the workloads' pods are
// gone or on their way, and the others have yet to go.
func (s *scene) awaitMoving(t *testing.T, pods int) {
	t.Helper()
	staying := map[types.UID]bool{}
	for _, pod := range s.pods {
		staying[pod.UID] = true
	}
	must(t, s.cluster.Lab().WaitPods(within(t, time.Minute), s.namespace, "", func(now []corev1.Pod) bool {
		left := 0
		for _, pod := range now {
			if staying[pod.UID] && pod.DeletionTimestamp == nil {
				left++
			}
		}
		return len(s.pods)-left >= pods
	}))
}

// awaitDeath returns when the doomed nodes are gone, and removes them from the cluster as
// the cloud's own controller does, so that nothing goes on counting on them.
func (s *scene) awaitDeath(t *testing.T) {
	t.Helper()
	for _, node := range s.doomed {
		select {
		case <-node.Gone():
		case <-time.After(notice + time.Minute):
			t.Fatalf("node %s outlived its notice", node.Name)
		}
		err := s.cluster.Lab().Client().CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
}
