//go:build linux && e2e_nodes

package nodes_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// One cluster sees a release from its first day to its last. The parts have an order: one
// takes a node away, and the last takes Ebbtide away.
func TestTheLifeOfARelease(t *testing.T) {
	cluster := startEbbtide(t, nodes.Options{Spot: 3, LongLived: 2})
	spot1, spot2, spot3 := cluster.Node("spot-1"), cluster.Node("spot-2"), cluster.Node("spot-3")
	s := setScene(t, cluster, spot1)
	t.Run("Nobody feels an upgrade or a rollback", func(t *testing.T) { nobodyFeelsAnUpgrade(t, s) })
	t.Run("A stolen token is worth its node", func(t *testing.T) { aStolenTokenIsWorthItsNode(t, cluster, spot2, spot3) })
	t.Run("A drill is ordered by kubectl exec", func(t *testing.T) { aDrillIsOrderedByExec(t, cluster, spot3) })
	t.Run("An agent stays small beside forty pods", func(t *testing.T) { anAgentStaysSmall(t, s) })
	t.Run("Nothing is left when it goes", func(t *testing.T) { nothingIsLeft(t, cluster, spot2) })
}

// component returns the pods of one of the chart's programs that are not about to go.
func component(t *testing.T, cluster *nodes.Cluster, name string) []corev1.Pod {
	t.Helper()
	list, err := cluster.Lab().Client().CoreV1().Pods(release).
		List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=" + name})
	must(t, err)
	return slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil })
}

// agentOn returns the pod of a node's agent, and the agent's process.
func agentOn(t *testing.T, cluster *nodes.Cluster, node *nodes.Node) (corev1.Pod, nodes.Process) {
	t.Helper()
	pods := slices.DeleteFunc(component(t, cluster, "agent"), func(pod corev1.Pod) bool { return pod.Spec.NodeName != node.Name })
	processes, err := node.Processes()
	must(t, err)
	processes = slices.DeleteFunc(processes, func(p nodes.Process) bool { return p.Program != "ebbtide-agent" })
	if len(pods) != 1 || len(processes) != 1 || !lab.PodReady(pods[0]) {
		t.Fatalf("%s has %d agents in %d processes, want one, and ready", node.Name, len(pods), len(processes))
	}
	return pods[0], processes[0]
}

// fenceAround cordons all living nodes but one, or ends that: what is created meanwhile
// comes to that node, and is not bound to it as by a selector.
func fenceAround(t *testing.T, cluster *nodes.Cluster, node *nodes.Node, closed bool) {
	t.Helper()
	for _, other := range living(cluster) {
		if other != node {
			setSchedulable(t, cluster, other, !closed)
		}
	}
}
