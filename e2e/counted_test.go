package e2e

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// counted waits until the scene's budgets have counted their pods: before that an
// eviction is refused for another reason.
func (s *scene) counted() {
	s.t.Helper()
	ctx := s.within(20 * time.Second)
	budgets := s.lab.Client().PolicyV1().PodDisruptionBudgets(s.namespace)
	pdbs, err := budgets.List(ctx, metav1.ListOptions{})
	s.must(err)
	for i := range pdbs.Items {
		watcher, err := budgets.Watch(ctx, only(pdbs.Items[i].Name))
		s.must(err)
		s.await(watcher, "the budget "+pdbs.Items[i].Name, func(object runtime.Object) bool {
			pdb, is := object.(*policyv1.PodDisruptionBudget)
			if !is || pdb.Status.ObservedGeneration < pdb.Generation {
				return false
			}
			status := pdb.Status
			// Of several budgets of one pod only one is kept up to date.
			return !alone(pdbs.Items, pdb) || status.ExpectedPods > 0 && status.CurrentHealthy == status.ExpectedPods
		})
	}
}

// quota allows the scene as many pods, which it has already. Pods that are made at
// the same time as their quota may stay uncounted for minutes.
func (s *scene) quota(pods int64) {
	s.t.Helper()
	s.must(s.lab.Apply(s.t.Context(), s.namespace, fmt.Sprintf(
		"apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: full}\nspec: {hard: {pods: \"%d\"}}\n", pods)))
	watcher, err := s.lab.Client().CoreV1().ResourceQuotas(s.namespace).Watch(s.within(20*time.Second), only("full"))
	s.must(err)
	s.await(watcher, "the quota to count its pods", func(object runtime.Object) bool {
		quota, is := object.(*corev1.ResourceQuota)
		return is && quota.Status.Used.Pods().Value() == pods
	})
}

// alone says whether no other of the budgets covers the same pods.
func alone(all []policyv1.PodDisruptionBudget, pdb *policyv1.PodDisruptionBudget) bool {
	return !slices.ContainsFunc(all, func(other policyv1.PodDisruptionBudget) bool {
		return other.UID != pdb.UID && equality.Semantic.DeepEqual(other.Spec.Selector, pdb.Spec.Selector)
	})
}

// only selects the object of that name.
func only(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
}

// await returns when is holds for something that the watcher shows.
func (s *scene) await(watcher watch.Interface, what string, is func(runtime.Object) bool) {
	s.t.Helper()
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if is(event.Object) {
			return
		}
	}
	s.t.Fatalf("waited in vain for %s", what)
}
