package stolen

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Victims are what a thief finds: nodes, and pods on the token's own node and elsewhere.
type Victims struct {
	// Own is the node that the token was made for, Other one that it must not reach. Own
	// has the taint of [Keep], and no other.
	Own, Other string
	// Namespace is the agents', Release what the names of the chart's objects begin with,
	// before "-agent".
	Namespace, Release string
	// Near is a pod on the own node, Far one on the other. Nobody owns them; each has a
	// label app, and one container, whose name is c.
	Near, Far *corev1.Pod
	// Handed is a pod that is handed over, Kept its replacement, which is a ReplicaSet's.
	// Both are on the own node. [Victims.HandOver] makes one of the other.
	Handed, Kept *corev1.Pod

	hash                   string // of Handed and Kept
	replicaSet, deployment metav1.OwnerReference
}

// Keep is a taint that somebody else needs.
var Keep = corev1.Taint{Key: "example.com/keep", Effect: corev1.TaintEffectPreferNoSchedule}

// HandOver hands a pod of a Deployment over, as an agent does, and remembers it as
// Handed. Kept is left to the caller, who has to wait for it. It writes as client.
func (v *Victims) HandOver(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) error {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return fmt.Errorf("handing over pod %q: nobody owns it", pod.Name)
	}
	set, err := client.AppsV1().ReplicaSets(pod.Namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the ReplicaSet of pod %q: %w", pod.Name, err)
	}
	deployment := metav1.GetControllerOf(set)
	if deployment == nil {
		return fmt.Errorf("handing over pod %q: no Deployment owns its ReplicaSet %q", pod.Name, set.Name)
	}
	v.hash, v.replicaSet = pod.Labels["pod-template-hash"], *owner
	v.deployment = metav1.OwnerReference{APIVersion: deployment.APIVersion, Kind: deployment.Kind, Name: deployment.Name, UID: deployment.UID}
	v.Handed, err = client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType,
		[]byte(handOver(v.hash, note(v.hash, v.replicaSet), v.deployment)), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("handing over pod %q: %w", pod.Name, err)
	}
	return nil
}
