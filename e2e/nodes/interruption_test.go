//go:build linux && e2e_nodes

package nodes_test

import (
	"fmt"
	"testing"

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
		s.judgeLedger(t)
	})
	t.Run("Two of three within a second", func(t *testing.T) {
		s := setScene(t, cluster, cluster.Node("spot-2"), cluster.Node("spot-3"))
		s.reclaim(t)
		s.awaitDeath(t)
		s.judge(t)
	})
}

// judgeLedger looks at the pod whose budget never opens: it is told all the same, with the
// whole of its grace, and not before waiting for its budget has become hopeless.
func (s *scene) judgeLedger(t *testing.T) {
	t.Helper()
	for _, story := range stories(t, s.cluster, s.doomed[0]) {
		for _, pod := range story.Report.Pods {
			if pod.Name != "ledger-0" {
				continue
			}
			figure(t, "the pod whose budget never opens", "Forced with 30 s of 30 s",
				fmt.Sprintf("%s with %d s of %d s", pod.Path, pod.GraceGiven, pod.GraceWanted),
				pod.Path == drain.Forced && pod.GraceGiven == 30 && pod.GraceWanted == 30)
			return
		}
	}
	t.Error("no report speaks of ledger-0")
}
