//go:build linux && e2e_nodes

package nodes_test

import (
	"syscall"
	"testing"
	"time"

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

// killAgent kills the agent's process, as the kernel does when memory runs out: the
// kubelet starts another in the same pod.
func killAgent(t *testing.T, s *scene) {
	t.Helper()
	node := s.doomed[0]
	s.awaitMoving(t, middle)
	agents := programs(t, node)["ebbtide-agent"]
	if len(agents) != 1 {
		t.Fatalf("agents on %s: processes %v, want one", node.Name, agents)
	}
	must(t, syscall.Kill(agents[0], syscall.SIGKILL))
	await(t, "another agent", time.Minute, func() bool {
		now := programs(t, node)["ebbtide-agent"]
		return len(now) == 1 && now[0] != agents[0]
	})
}
