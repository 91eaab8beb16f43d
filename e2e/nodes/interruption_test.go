//go:build linux && e2e_nodes

package nodes_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// One cluster of four spot nodes: the first is taken alone, and of the three that are left
// two at once.
func TestSpotNodesAreTaken(t *testing.T) {
	cluster := startEbbtide(t, nodes.Options{Spot: 4, LongLived: 2})
	t.Run("One node with thirty pods", func(t *testing.T) {
		s := setScene(t, cluster, cluster.Node("spot-1"))
		s.reclaim(t)
		s.awaitDeath(t)
		s.judge(t)
		s.judgeOutcomes(t)
	})
	t.Run("Two of three within a second", func(t *testing.T) {
		s := setScene(t, cluster, cluster.Node("spot-2"), cluster.Node("spot-3"))
		s.reclaim(t)
		s.awaitDeath(t)
		s.judge(t)
	})
}

// judgeOutcomes reads what the agent says of each pod. One of them has a budget that never
// opens: it is told all the same, with the whole of its grace, when waiting is of no more
// use.
func (s *scene) judgeOutcomes(t *testing.T) {
	t.Helper()
	outcomes := map[types.UID]drain.PodOutcome{}
	for _, told := range stories(t, s.cluster, s.doomed[0]) {
		for _, pod := range told.Report.Pods {
			outcomes[pod.UID] = pod
		}
	}
	reported := 0
	for _, pod := range s.pods {
		outcome, there := outcomes[pod.UID]
		if there {
			reported++
		}
		if pod.Name == "ledger-0" {
			figure(t, "the pod whose budget never opens", "Forced with 30 s of 30 s",
				fmt.Sprintf("%s with %d s of %d s", outcome.Path, outcome.GraceGiven, outcome.GraceWanted),
				outcome.Path == drain.Forced && outcome.GraceGiven == 30 && outcome.GraceWanted == 30)
		}
	}
	figure(t, "pods in the agent's report", fmt.Sprint(workloadPods), fmt.Sprintf("%d of %d", reported, len(outcomes)),
		reported == workloadPods && len(outcomes) == workloadPods)
}
