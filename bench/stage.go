package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// setUpWithin bounds the build-up of a scene: a storm's two thousand pods are
// scheduled and started in a minute on two cores.
const setUpWithin = 10 * time.Minute

// atATime bounds how many nodes or agents are started at a time.
const atATime = 8

// stage is a scene as it stands for one contender, in a namespace and on nodes of
// its own.
type stage struct {
	lab       *lab.Lab
	scene     scene
	namespace string
	doomed    []*lab.Node
	safe      []*lab.Node

	// Known once it is set up:
	pods    []doomedPod
	desired map[string]int // by group: how many healthy pods its budgets ask for
}

// doomedPod is a pod that is on a doomed node when the notice comes.
type doomedPod struct {
	uid         types.UID
	name, group string
	grace       time.Duration // its own
}

// groupOf returns the group of a pod, ReplicaSet or budget by its name.
func groupOf(name string) string {
	group, _, _ := strings.Cut(name, "-")
	return group
}

// setUp builds a scene and returns when every pod is Ready and every budget has
// counted them. What is there when it fails is in the stage too, for clear.
func (s *stage) setUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, setUpWithin, fmt.Errorf("not set up after %s", setUpWithin))
	defer cancel()
	if err := s.createNamespace(ctx); err != nil {
		return err
	}
	var err error
	// Pods that run before there is any other node are on doomed ones, and fill them.
	if s.doomed, err = s.addNodes(ctx, "doomed", s.scene.doomed, s.scene.podsPerNode); err != nil {
		return err
	}
	client := s.lab.Client()
	for _, g := range s.scene.groups {
		if err := g.create(ctx, client, s.namespace); err != nil {
			return err
		}
	}
	all, doomed := s.scene.pods()
	if err := s.waitReady(ctx, doomed); err != nil {
		return err
	}
	const roomy = 250 // pods: replacements find a place at once
	if s.safe, err = s.addNodes(ctx, "safe", s.scene.safe, roomy); err != nil {
		return err
	}
	for _, g := range s.scene.groups {
		if err := g.grow(ctx, client, s.namespace); err != nil {
			return err
		}
	}
	if err := s.waitReady(ctx, all); err != nil {
		return err
	}
	if err := s.waitBudgets(ctx); err != nil {
		return err
	}
	return s.readPods(ctx)
}

// createNamespace also creates the account that the API server wants for every pod,
// which a controller would make a moment later.
func (s *stage) createNamespace(ctx context.Context) error {
	core := s.lab.Client().CoreV1()
	_, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}, metav1.CreateOptions{})
	if err == nil {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		_, err = core.ServiceAccounts(s.namespace).Create(ctx, account, metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %q: %w", s.namespace, err)
	}
	return nil
}

// addNodes adds nodes that take a number of pods each. It returns those that it
// added, even when it fails.
func (s *stage) addNodes(ctx context.Context, role string, count, pods int) ([]*lab.Node, error) {
	nodes := make([]*lab.Node, count)
	var adding errgroup.Group
	adding.SetLimit(atATime)
	for i := range nodes {
		adding.Go(func() (err error) {
			nodes[i], err = s.lab.AddNode(ctx, lab.NodeSpec{
				Name: fmt.Sprintf("%s-%s-%03d", s.namespace, role, i),
				Allocatable: corev1.ResourceList{
					corev1.ResourceCPU:    resource.MustParse("32"),
					corev1.ResourceMemory: resource.MustParse("256Gi"),
					corev1.ResourcePods:   *resource.NewQuantity(int64(pods), resource.DecimalSI),
				},
			})
			return err
		})
	}
	err := adding.Wait()
	return slices.DeleteFunc(nodes, func(n *lab.Node) bool { return n == nil }), err
}

// waitReady returns when n pods of the stage are Ready.
func (s *stage) waitReady(ctx context.Context, n int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := map[types.UID]bool{}
	for record := range s.lab.Watch(ctx) {
		if record.Namespace == s.namespace && isReady(record) {
			ready[record.UID] = true
		}
		if len(ready) == n {
			return nil
		}
	}
	return fmt.Errorf("waiting for %d pods to be Ready, %d are: %w", n, len(ready), context.Cause(ctx))
}

// isReady says whether a pod serves: it is Ready and has not been told to stop.
func isReady(r lab.PodRecord) bool {
	return !r.ReadyAt.IsZero() && r.ToldAt.IsZero() && r.End == lab.Running
}

// waitBudgets returns when every group's budget has counted all its pods. Of several
// budgets one is enough: Kubernetes tells only one of them when a pod changes, and so
// does not keep the others in step.
func (s *stage) waitBudgets(ctx context.Context) error {
	counts := map[string]int{}
	for _, g := range s.scene.groups {
		counts[g.name] = g.replicas + g.elsewhere
	}
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		budgets, err := s.lab.Client().PolicyV1().PodDisruptionBudgets(s.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		s.desired = map[string]int{}
		for i := range budgets.Items {
			budget := &budgets.Items[i]
			if group := groupOf(budget.Name); counted(budget, counts[group]) {
				s.desired[group] = max(s.desired[group], int(budget.Status.DesiredHealthy))
			}
		}
		return len(s.desired) == len(counts), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the budgets of %d groups, %d have counted their pods: %w", len(counts), len(s.desired), err)
	}
	return nil
}

func counted(budget *policyv1.PodDisruptionBudget, pods int) bool {
	status := budget.Status
	return status.ObservedGeneration == budget.Generation && int(status.ExpectedPods) == pods && int(status.CurrentHealthy) == pods
}

// readPods takes down who is on the doomed nodes.
func (s *stage) readPods(ctx context.Context) error {
	doomed := map[string]bool{}
	for _, node := range s.doomed {
		doomed[node.Name()] = true
	}
	pods, err := s.lab.Client().CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing pods: %w", err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if !doomed[pod.Spec.NodeName] {
			continue
		}
		s.pods = append(s.pods, doomedPod{
			uid: pod.UID, name: pod.Name, group: pod.Labels[appLabel],
			grace: time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second,
		})
	}
	if _, want := s.scene.pods(); len(s.pods) != want {
		return fmt.Errorf("setting up scene %s: %d pods are on doomed nodes, not %d", s.scene.key, len(s.pods), want)
	}
	return nil
}

// clearWithin bounds the removal of a scene. The API server deletes a storm's pods one
// after another.
const clearWithin = 5 * time.Minute

// clear removes everything that setUp has created, so that the next contender finds
// the cluster as this one did.
func (s *stage) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), clearWithin, fmt.Errorf("not gone after %s", clearWithin))
	defer cancel()
	errs := []error{s.removeNamespace(ctx)}
	for _, node := range slices.Concat(s.doomed, s.safe) {
		errs = append(errs, node.Remove(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clearing namespace %q: %w", s.namespace, err)
	}
	return nil
}

// removeNamespace returns when the namespace is gone with all that is in it. It tries
// until then, since an API server that comes out of a storm times out.
func (s *stage) removeNamespace(ctx context.Context) error {
	core := s.lab.Client().CoreV1()
	for {
		// The namespace goes first: nothing can be created in it from then on.
		err := core.Namespaces().Delete(ctx, s.namespace, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		// Most of these pods' machines are gone, and nobody else ends them.
		err = errors.Join(err, core.Pods(s.namespace).DeleteCollection(ctx,
			metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{}))
		if ended := pause(ctx, 500*time.Millisecond); ended != nil {
			return errors.Join(ended, err)
		}
	}
}
