//go:build linux && e2e_nodes

package nodes_test

import (
	"slices"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// middle is how many of the workloads' pods have left when a fault comes: enough that all
// ways to leave are under way, and long before the last one goes.
const middle = 10

// Three drains, one after the other, each with a fault of its own and with the verdicts of
// a drain that has none.
func TestADrainSurvivesFaults(t *testing.T) {
	cluster := startEbbtide(t, nodes.Options{Spot: 3, LongLived: 2})
	t.Run("Its agent is killed", func(t *testing.T) {
		drainWith(t, cluster, cluster.Node("spot-1"), killAgent)
	})
	t.Run("The kubelet is restarted", func(t *testing.T) {
		drainWith(t, cluster, cluster.Node("spot-2"), func(t *testing.T, s *scene) {
			t.Helper()
			s.awaitMoving(t, middle)
			must(t, s.doomed[0].RestartKubelet(within(t, time.Minute)))
		})
	})
	t.Run("The API server is away for 20 s from the 20th second", func(t *testing.T) {
		drainWith(t, cluster, cluster.Node("spot-3"), func(t *testing.T, s *scene) {
			t.Helper()
			const from, lost = 20 * time.Second, 20 * time.Second
			<-time.After(time.Until(s.told.Add(from)))
			must(t, cluster.LoseAPIServer(t.Context(), lost))
		})
	})
}

func drainWith(t *testing.T, cluster *nodes.Cluster, node *nodes.Node, fault func(*testing.T, *scene)) {
	t.Helper()
	s := setScene(t, cluster, node)
	s.reclaim(t)
	fault(t, s)
	s.awaitDeath(t)
	s.judge(t)
}

// killAgent kills the agent's process, as the kernel does when memory runs out, and the
// kubelet starts another in the same pod; and then its pod, at once and for good, and the
// next has to come to a node that is cordoned and tainted.
func killAgent(t *testing.T, s *scene) {
	t.Helper()
	node := s.doomed[0]
	s.awaitMoving(t, middle)
	pod, process := agentOn(t, s.cluster, node)
	must(t, syscall.Kill(process.PID, syscall.SIGKILL))
	process = awaitAgent(t, node, process)
	atOnce := int64(0)
	must(t, s.cluster.Lab().Client().CoreV1().Pods(pod.Namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &atOnce}))
	awaitAgent(t, node, process)
}

// awaitAgent returns the agent's process when it is another than one that was there
// before, and the only one.
func awaitAgent(t *testing.T, node *nodes.Node, before nodes.Process) (now nodes.Process) {
	t.Helper()
	await(t, "another agent", time.Minute, func() bool {
		processes, err := node.Processes()
		must(t, err)
		processes = slices.DeleteFunc(processes, func(p nodes.Process) bool { return p.Program != "ebbtide-agent" })
		if len(processes) != 1 || processes[0].PID == before.PID {
			return false
		}
		now = processes[0]
		return true
	})
	return now
}
