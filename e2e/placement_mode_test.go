package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/placementrun"
	"github.com/ebbtide/ebbtide/placement"
)

// renderable are policies that an API server can evaluate by itself, and one that asks
// how many nodes there are, which it cannot.
const renderable = `
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: dns}
spec: {mode: Required, match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}}
---
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: edge}
spec: {mode: Required, match: {podSelector: {matchLabels: {tier: edge}}}}
---
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: counted}
spec: {mode: Auto, match: {podSelector: {matchLabels: {tier: counted}}}}
`

// A user who changes the mode finds the pods placed before, meanwhile and after.
func TestAnAdmissionPolicyPlacesThePodsWhereTheModeSaysSo(t *testing.T) {
	t.Parallel()
	c := newCoast(t, renderable)
	c.addLongLived(nil)
	byPolicy := c.installed.Run(t, placementrun.Options{
		Instance: "by-policy", Config: map[string]any{"mode": placementrun.AdmissionPolicy},
	})
	c.must(byPolicy.Ready(c.within(time.Minute)))
	c.part("without a webhook the pods land on long-lived nodes", func() {
		c.placesPods()
		c.must(c.Apply(c.t.Context(), c.edge, ingress.manifest()))
		c.must(c.WaitPods(c.within(30*time.Second), c.edge, "app=ingress-nginx", allOn(onSteady, ingress.replicas)))
	})
	c.part("each policy says whether it is rendered", func() {
		c.policy("dns", "that it is rendered", renders(metav1.ConditionTrue))
		c.policy("counted", "why it is not", func(s v1alpha1.PlacementPolicyStatus) bool {
			condition := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionRendered)
			return condition != nil && condition.Status == metav1.ConditionFalse && condition.Reason == string(placement.NeedsClusterState)
		})
	})
	c.part("a DaemonSet that asks for spot is told", c.tellsDaemonSet)
	c.part("with a webhook the policy is withdrawn, and the pods are placed", func() {
		c.must(byPolicy.Terminate())
		_, err := byPolicy.Wait(c.within(30 * time.Second))
		c.must(err)
		c.startTwo()
		c.await("the policy to be withdrawn", reported, func(ctx context.Context) bool {
			_, err := c.Client().AdmissionregistrationV1().MutatingAdmissionPolicies().Get(ctx, placementrun.Configuration, metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		})
		c.policy("counted", "nothing about rendering", func(s v1alpha1.PlacementPolicyStatus) bool {
			return meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionRendered) == nil
		})
		c.placesPods()
	})
	c.part("the program may do all that it does", c.refusedNothing)
}

func renders(status metav1.ConditionStatus) func(v1alpha1.PlacementPolicyStatus) bool {
	return func(s v1alpha1.PlacementPolicyStatus) bool {
		return meta.IsStatusConditionPresentAndEqual(s.Conditions, v1alpha1.ConditionRendered, status)
	}
}

// tellsDaemonSet wants an Event about a DaemonSet that is critical and runs on spot
// nodes only, by its own template.
func (c *coast) tellsDaemonSet() {
	c.t.Helper()
	c.must(c.Apply(c.t.Context(), c.edge, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: edge-proxy}
spec:
  selector: {matchLabels: {app: edge-proxy}}
  template:
    metadata: {labels: {app: edge-proxy, tier: edge}}
    spec: {nodeSelector: {karpenter.sh/capacity-type: spot}, containers: [{name: main, image: none}]}
`))
	// The leader lists DaemonSets once a minute.
	c.await("an Event about the DaemonSet", 90*time.Second, func(ctx context.Context) bool {
		selector := fmt.Sprintf("regarding.kind=DaemonSet,regarding.name=edge-proxy,reason=%s", placement.Contradiction)
		list, err := c.Client().EventsV1().Events(c.edge).List(ctx, metav1.ListOptions{FieldSelector: selector})
		return err == nil && len(list.Items) > 0
	})
}
