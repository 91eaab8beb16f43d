package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/placementrun"
	"github.com/ebbtide/ebbtide/placement"
)

// coast is a cluster of spot and long-lived nodes with the placement program in it.
// Webhooks look at all namespaces, so that each coast has a control plane of its own.
type coast struct {
	t     *testing.T // of the part that is under way
	whole *testing.T // of the test, as whose cleanup everything ends
	*lab.Lab
	installed *placementrun.Installation
	policies  dynamic.NamespaceableResourceInterface
	// edge is the namespace of what is critical outside of kube-system.
	edge string
	// replicas are those that run.
	replicas []*placementrun.Replica
	started  int
}

// newCoast makes a coast with three spot nodes, and without a replica.
func newCoast(t *testing.T, policies string) *coast {
	t.Helper()
	l := lab.New(t)
	installed, err := placementrun.Install(t.Context(), l, placementrun.InstallOptions{Policies: policies})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := installed.Front.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := dynamic.NewForConfig(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	c := &coast{t: t, whole: t, Lab: l, installed: installed, policies: client.Resource(v1alpha1.PlacementPolicies), edge: l.Namespace(t)}
	for i := range 3 {
		l.Node(t, lab.NodeSpec{
			Name: fmt.Sprintf("spot-%d", i+1), Labels: map[string]string{"karpenter.sh/capacity-type": "spot", near: "true"},
		})
	}
	return c
}

// part is a chapter of the test. Those after one that fails would fail by it, and are
// not begun.
func (c *coast) part(name string, test func()) {
	c.whole.Helper()
	defer func() { c.t = c.whole }()
	if !c.whole.Run(name, func(t *testing.T) {
		c.t = t
		test()
	}) {
		c.whole.FailNow()
	}
}

// near is a label of the spot nodes that says nothing to placement. Pods that prefer it
// come to a spot node unless they were placed.
const near = "lab.ebbtide.dev/near"

// addLongLived adds the two long-lived nodes; with no resources given, large ones.
func (c *coast) addLongLived(allocatable corev1.ResourceList) {
	c.t.Helper()
	for i := range 2 {
		c.Node(c.whole, lab.NodeSpec{
			Name: fmt.Sprintf("steady-%d", i+1), Labels: map[string]string{"karpenter.sh/capacity-type": "on-demand"}, Allocatable: allocatable,
		})
	}
}

func (c *coast) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// within returns a context for a wait that must succeed in time.
func (c *coast) within(limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), limit)
	c.t.Cleanup(cancel)
	return ctx
}

// await waits for a state that nothing announces.
func (c *coast) await(what string, limit time.Duration, is func(context.Context) bool) {
	c.t.Helper()
	err := wait.PollUntilContextTimeout(c.t.Context(), 50*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		return is(ctx), nil
	})
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", what, err)
	}
}

// start starts another replica and waits until it is ready. Nobody calls it yet.
func (c *coast) start() {
	c.t.Helper()
	c.started++
	r := c.installed.Run(c.whole, placementrun.Options{
		Instance: fmt.Sprintf("replica-%d", c.started), Config: map[string]any{"webhook": map[string]any{"linger": linger.String()}},
	})
	c.must(r.Ready(c.within(time.Minute)))
	c.replicas = append(c.replicas, r)
}

// linger is how long a replica goes on serving after it was told to stop.
const linger = 4 * time.Second

// startTwo starts two replicas and waits until the API server has pods placed by them.
func (c *coast) startTwo() {
	c.t.Helper()
	c.start()
	c.start()
	c.serve()
	c.placesPods()
}

// serve makes the replicas that run the ones that are called.
func (c *coast) serve() {
	addresses := make([]string, 0, len(c.replicas))
	for _, r := range c.replicas {
		addresses = append(addresses, r.Reviews())
	}
	c.installed.Front.HandTo(addresses...)
}

// placesPods waits until the API server has pods placed, by either entry.
func (c *coast) placesPods() {
	c.t.Helper()
	for _, namespace := range []string{metav1.NamespaceSystem, c.edge} {
		c.await("pods of "+namespace+" to be placed", 30*time.Second, func(ctx context.Context) bool {
			pod, err := c.Client().CoreV1().Pods(namespace).Create(ctx, critical(namespace), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err == nil && placed(pod)
		})
	}
}

// The labels by which the policies find their pods.
const (
	dnsLabel  = "k8s-app"
	dnsApp    = "kube-dns"
	edgeLabel = "tier"
	edgeTier  = "edge"
)

// critical is a pod that a policy governs: of DNS in kube-system, of the edge elsewhere.
// It would rather be near, and so on a spot node.
func critical(namespace string) *corev1.Pod {
	labels := map[string]string{edgeLabel: edgeTier}
	if namespace == metav1.NamespaceSystem {
		labels = map[string]string{dnsLabel: dnsApp}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "critical-", Namespace: namespace, Labels: labels, Annotations: map[string]string{lab.ReadyAfter: "100ms"},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "main", Image: "none"}},
			Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
					Weight: 100, Preference: corev1.NodeSelectorTerm{
						MatchExpressions: []corev1.NodeSelectorRequirement{{Key: near, Operator: corev1.NodeSelectorOpExists}},
					},
				}},
			}},
		},
	}
}

// placed says whether a decision is recorded on the pod.
func placed(pod *corev1.Pod) bool {
	_, found := placement.ReadRecord(pod)
	return found
}

// reason is that of the decision that is recorded on the pod; empty, if there is none.
func reason(pod *corev1.Pod) placement.Reason {
	record, _ := placement.ReadRecord(pod)
	return record.Reason
}

func onSpot(pod corev1.Pod) bool   { return strings.HasPrefix(pod.Spec.NodeName, "spot-") }
func onSteady(pod corev1.Pod) bool { return strings.HasPrefix(pod.Spec.NodeName, "steady-") }

// allOn is a condition for WaitPods: exactly n pods, each Ready and where it should be.
func allOn(where func(corev1.Pod) bool, n int) func([]corev1.Pod) bool {
	return func(pods []corev1.Pod) bool {
		for _, pod := range pods {
			if !where(pod) {
				return false
			}
		}
		return lab.AllReady(n)(pods)
	}
}

// reported is how soon what the leader finds has to be said: an audit and its write, or
// an election before that, when the leader was killed.
const reported = 45 * time.Second

// policy waits until a policy says of itself what it should.
func (c *coast) policy(name, what string, is func(v1alpha1.PlacementPolicyStatus) bool) {
	c.t.Helper()
	c.await("policy "+name+" to say "+what, reported, func(ctx context.Context) bool {
		object, err := c.policies.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		var policy v1alpha1.PlacementPolicy
		c.must(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &policy))
		return is(policy.Status)
	})
}

// safe and unsafe wait until a policy says that none of its pods is on a spot node, or
// how many are.
func (c *coast) safe(name string) {
	c.t.Helper()
	c.policy(name, "that it is safe", func(s v1alpha1.PlacementPolicyStatus) bool {
		return s.OnSpot != nil && *s.OnSpot == 0 && meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionSafe)
	})
}

func (c *coast) unsafe(name string, pods int32) {
	c.t.Helper()
	c.policy(name, fmt.Sprintf("that %d of its pods are on spot", pods), func(s v1alpha1.PlacementPolicyStatus) bool {
		return s.OnSpot != nil && *s.OnSpot == pods && meta.IsStatusConditionFalse(s.Conditions, v1alpha1.ConditionSafe)
	})
}

// alerts waits until every replica counts so many pods of a policy on spot nodes, which
// is what the alert goes by.
func (c *coast) alerts(policy string, pods float64) {
	c.t.Helper()
	for _, r := range c.replicas {
		c.await(fmt.Sprintf("%s to count %.0f pods on spot", r.Instance(), pods), reported, func(ctx context.Context) bool {
			metrics, err := r.Metrics(ctx)
			return err == nil && metrics[fmt.Sprintf("ebbtide_placement_pods{policy=%q, where=%q}", policy, "OnSpot")] == pods
		})
	}
}

// leader waits until one of the replicas leads.
func (c *coast) leader() *placementrun.Replica {
	c.t.Helper()
	var leading *placementrun.Replica
	c.await("one replica to lead", reported, func(ctx context.Context) bool {
		leading = nil
		n := 0
		for _, r := range c.replicas {
			if metrics, err := r.Metrics(ctx); err == nil && metrics["ebbtide_placement_leader"] == 1 {
				leading = r
				n++
			}
		}
		return n == 1
	})
	return leading
}

// refusedNothing fails the test for everything that the replicas were not allowed.
func (c *coast) refusedNothing() {
	c.t.Helper()
	requests, err := c.Requests(c.t.Context(), c.installed.User())
	c.must(err)
	for _, r := range requests {
		if r.Code == 403 {
			c.t.Errorf("the replicas may not %s %s/%s in namespace %q", r.Verb, r.Resource, r.Subresource, r.Namespace)
		}
	}
}
