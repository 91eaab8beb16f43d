package e2e

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/cluster"
	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// karpenters is the taint that Karpenter puts on a node that it means to remove.
const karpenters = "karpenter.sh/disrupted"

// newListening makes a scene whose agents watch their Node, with the rights for that.
func newListening(t *testing.T) *scene {
	t.Helper()
	s := newScene(t, lab.Shared(t))
	s.config = map[string]any{"cluster": map[string]any{"enabled": true}}
	s.user = lab.ServiceAccountUser(s.namespace, "listener")
	var err error
	s.kubeconfig, err = s.lab.ServiceAccount(t.Context(), s.namespace, "listener",
		slices.Concat(drain.PolicyRules(), report.PolicyRules(), cluster.PolicyRules()))
	s.must(err)
	return s
}

// disrupted puts Karpenter's taint on the doomed node, or takes it off as Karpenter does
// when it thinks better of it. What others have put there stays.
func (s *scene) disrupted(is bool) {
	s.t.Helper()
	nodes := s.lab.Client().CoreV1().Nodes()
	s.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		node := s.node()
		node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == karpenters })
		if is {
			node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: karpenters, Effect: corev1.TaintEffectNoSchedule})
		}
		_, err := nodes.Update(s.t.Context(), node, metav1.UpdateOptions{})
		return err
	}))
}

func TestWhatIsCriticalLeavesANodeThatKarpenterMeansToRemove(t *testing.T) {
	t.Parallel()
	s := newListening(t)
	s.run(2, pods{name: "dns", replicas: 1, asks: isCritical}.manifest(s),
		service("dns"), budget("dns", "dns", "minAvailable", "1"), pods{name: "batch", replicas: 1}.manifest(s))
	least := s.leastReady("dns", 1)
	a := s.ready()
	batch := s.life("batch").UID
	s.disrupted(true)
	s.must(s.lab.WaitNode(s.within(5*time.Second), s.doomed.Name(), avoided(agent.ClusterDisruption)))
	_, err := a.WaitRecord(s.within(30*time.Second), leaves("dns"))
	s.must(err)

	s.disrupted(false)
	s.must(s.lab.WaitNode(s.within(10*time.Second), s.doomed.Name(), clean))
	if node := s.node(); len(node.Spec.Taints) > 0 || node.Spec.Unschedulable {
		t.Errorf("the node is left with the taints %v and unschedulable %v", node.Spec.Taints, node.Spec.Unschedulable)
	}
	for _, pod := range s.lives() {
		if pod.UID == batch && !pod.ToldAt.IsZero() {
			t.Error("a pod that is not critical was told to stop")
		}
	}
	if ready := slices.Min(least()); ready < 1 {
		t.Errorf("at worst %d pods of dns were ready, want one always", ready)
	}
	s.noneForced()
}
