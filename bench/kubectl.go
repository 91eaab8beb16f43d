package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubectl/pkg/drain"
)

// retryDelay is what kubectl itself sets between two evictions that were refused.
// Without it the library does not wait at all.
const retryDelay = 5 * time.Second

// kubectl drains as the termination handlers do that are built on kubectl's library:
// one handler a node, with a client of its own. Being goroutines, they are spared what
// processes cost; and they get their notice without having to ask for it.
type kubectl struct {
	notice  time.Duration
	clients map[string]kubernetes.Interface // by node

	stop    context.CancelFunc
	drains  sync.WaitGroup
	refused atomic.Int64
}

func kubectlRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "patch"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}},
		{APIGroups: []string{""}, Resources: []string{"pods/eviction"}, Verbs: []string{"create"}},
		{APIGroups: []string{"apps"}, Resources: []string{"daemonsets"}, Verbs: []string{"get"}},
	}
}

func enterKubectl(qps float32, burst int) func(context.Context, *bench, *stage, string) (rival, error) {
	return func(_ context.Context, _ *bench, s *stage, kubeconfig string) (rival, error) {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("reading kubeconfig %q: %w", kubeconfig, err)
		}
		config.QPS, config.Burst = qps, burst
		k := &kubectl{notice: s.scene.notice, clients: map[string]kubernetes.Interface{}, stop: func() {}}
		for _, node := range s.doomed {
			// Each with a throttle of its own.
			if k.clients[node.Name()], err = kubernetes.NewForConfig(config); err != nil {
				return nil, fmt.Errorf("creating a client for node %q: %w", node.Name(), err)
			}
		}
		return k, nil
	}
}

func (k *kubectl) warn(ctx context.Context, _ time.Time) {
	ctx, k.stop = context.WithCancel(ctx)
	for node, client := range k.clients {
		k.drains.Go(func() {
			if k.empty(ctx, client, node) != nil {
				k.refused.Add(1)
			}
		})
	}
}

// empty cordons and drains a node with the options of a handler that leaves no pod
// behind if it can help it.
func (k *kubectl) empty(ctx context.Context, client kubernetes.Interface, name string) error {
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	helper := &drain.Helper{
		Ctx: ctx, Client: client,
		Force: true, IgnoreAllDaemonSets: true, DeleteEmptyDirData: true,
		GracePeriodSeconds: -1, // the pods' own
		Timeout:            k.notice, EvictErrorRetryDelay: retryDelay,
		Out: io.Discard, ErrOut: io.Discard,
	}
	if err := drain.RunCordonOrUncordon(helper, node, true); err != nil {
		return err
	}
	return drain.RunNodeDrain(helper, name)
}

// perish waits for the library's sleeps, which nothing cuts short; nothing is asked of
// the API server meanwhile.
func (k *kubectl) perish() error {
	k.stop()
	k.drains.Wait()
	return nil
}

func (k *kubectl) failures() int { return int(k.refused.Load()) }
