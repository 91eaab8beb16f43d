package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// appLabel tells the pods of the groups apart.
const appLabel = "app"

// create creates the group's workload with the replicas of the doomed nodes, its
// budgets and its Service.
func (g group) create(ctx context.Context, client kubernetes.Interface, namespace string) error {
	var err error
	switch g.kind {
	case deployment:
		_, err = client.AppsV1().Deployments(namespace).Create(ctx, g.deployment(), metav1.CreateOptions{})
	case statefulSet:
		_, err = client.AppsV1().StatefulSets(namespace).Create(ctx, g.statefulSet(), metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("creating workload %q: %w", g.name, err)
	}
	for i, spec := range g.budgets {
		spec.Selector = g.selector()
		budget := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", g.name, i)}, Spec: spec,
		}
		if _, err := client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, budget, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating budget %q: %w", budget.Name, err)
		}
	}
	if !g.service {
		return nil
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: g.name},
		Spec:       corev1.ServiceSpec{Selector: g.labels(), Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if _, err := client.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating Service %q: %w", g.name, err)
	}
	return nil
}

// grow adds the replicas of the safe nodes.
func (g group) grow(ctx context.Context, client kubernetes.Interface, namespace string) error {
	if g.elsewhere == 0 {
		return nil
	}
	scale, err := client.AppsV1().Deployments(namespace).GetScale(ctx, g.name, metav1.GetOptions{})
	if err == nil {
		scale.Spec.Replicas = int32(g.replicas + g.elsewhere) //nolint:gosec // A lab has no such number of pods.
		_, err = client.AppsV1().Deployments(namespace).UpdateScale(ctx, g.name, scale, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("scaling Deployment %q: %w", g.name, err)
	}
	return nil
}

func (g group) deployment() *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: g.name},
		Spec:       appsv1.DeploymentSpec{Replicas: g.count(), Selector: g.selector(), Template: g.template()},
	}
}

func (g group) statefulSet() *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: g.name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: g.count(), Selector: g.selector(), Template: g.template(), PodManagementPolicy: appsv1.ParallelPodManagement,
		},
	}
}

func (g group) count() *int32 { return new(int32(g.replicas)) } //nolint:gosec // A lab has no such number of pods.

func (g group) labels() map[string]string { return map[string]string{appLabel: g.name} }

func (g group) selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: g.labels()}
}

func (g group) template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels: g.labels(), Annotations: map[string]string{lab.ReadyAfter: "2s", lab.ExitsAfter: g.exits},
		},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(g.grace / time.Second)),
			Containers:                    []corev1.Container{{Name: "main", Image: "none"}},
		},
	}
}
