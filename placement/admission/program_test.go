package admission

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
	"github.com/ebbtide/ebbtide/placement/webhook"
)

// follow tells the keeper of the policies and of the nodes' taints, as the program does,
// for the time of the test.
func follow(t *testing.T, l *lab.Lab, k *Keeper) {
	t.Helper()
	informers, err := webhook.NewCache(l.Config(), "none")
	if err != nil {
		t.Fatal(err)
	}
	memory := webhook.NewMemory(placement.Rules{}, slog.New(slog.DiscardHandler))
	memory.OnPolicies = k.Want
	k.options.Rules = func() placement.Rules {
		if state := memory.State(); state != nil {
			return state.Rules
		}
		return placement.Rules{}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	if err := memory.Watch(ctx, informers); err != nil {
		t.Error(err)
	}
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{informers.Start, memory.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

const dnsDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns}
spec:
  replicas: 4
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec: {containers: [{name: dns, image: "example.com/dns:1"}]}`

// The whole of it, on a lab of its own: a cluster of spot and long-lived nodes, the
// program's memory of the policies, and no webhook.
func TestDNSLandsOnLongLivedNodesWithoutAWebhook(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	if !servesAdmissionPolicies(t, l) {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	for i := range 3 {
		l.Node(t, lab.NodeSpec{Name: fmt.Sprint("spot-", i), Labels: map[string]string{"karpenter.sh/capacity-type": "spot"}})
	}
	soft := corev1.Taint{Key: "dedicated", Value: "steady", Effect: corev1.TaintEffectPreferNoSchedule}
	for i := range 2 {
		l.Node(t, lab.NodeSpec{Name: fmt.Sprint("steady-", i), Taints: []corev1.Taint{soft}})
	}
	s := newScene(t, l, "program")
	k := s.keeper(t)
	follow(t, l, k)
	s.run(t, k)
	began := time.Now()
	manifest := `{apiVersion: placement.ebbtide.dev/v1alpha1, kind: PlacementPolicy, metadata: {name: dns},
spec: {mode: Preferred, match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}}}`
	if err := l.Apply(t.Context(), "", manifest); err != nil {
		t.Fatal(err)
	}
	// With the toleration, without which the scheduler would rather have spot nodes.
	dns := placementtest.Pod(t, "metadata: {labels: {k8s-app: kube-dns}}")
	placementtest.Await(t, "the policy to act", func(ctx context.Context) error {
		pod, err := l.Client().CoreV1().Pods(metav1.NamespaceSystem).Create(ctx, dns, dryRun)
		if err != nil {
			return err
		}
		for _, toleration := range pod.Spec.Tolerations {
			if toleration.Key == soft.Key {
				return nil
			}
		}
		return fmt.Errorf("its tolerations are %v", pod.Spec.Tolerations)
	})
	t.Logf("a policy acts %.1f s after it was made", time.Since(began).Seconds())

	if err := l.Apply(t.Context(), metav1.NamespaceSystem, dnsDeployment); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), placementtest.Within)
	defer cancel()
	err := l.WaitPods(ctx, metav1.NamespaceSystem, "k8s-app=kube-dns", func(pods []corev1.Pod) bool {
		for _, pod := range pods {
			if !strings.HasPrefix(pod.Spec.NodeName, "steady-") {
				return false
			}
		}
		return lab.AllReady(4)(pods)
	})
	if err != nil {
		t.Error(err)
	}
}
