package drain

import (
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Refusal says why a pod is not handed over; empty when it is. The values are
// stable: they are part of the report.
type Refusal string

// The refusals.
const (
	// NotOfADeployment: no ReplicaSet of a Deployment owns it, so nobody would
	// replace it while it is there.
	NotOfADeployment Refusal = "NotOfADeployment"
	// ArgoRollout: its ReplicaSet is an Argo Rollout's, which counts and picks
	// its pods by rules of its own.
	ArgoRollout Refusal = "ArgoRollout"
	// AlreadyEnding: it was deleted, or its containers have ended.
	AlreadyEnding Refusal = "AlreadyEnding"
	// NotRunning: it has not started; its eviction takes no budget.
	NotRunning Refusal = "NotRunning"
	// AlreadyHanded: it is handed over, by an earlier drain perhaps.
	AlreadyHanded Refusal = "AlreadyHanded"
	// NotTheCurrentReplicaSet: its Deployment is moving away from its template,
	// and would not make another of it.
	NotTheCurrentReplicaSet Refusal = "NotTheCurrentReplicaSet"
	// Recreate: its Deployment must never run two at a time.
	Recreate Refusal = "Recreate"
	// Paused: somebody holds its Deployment back.
	Paused Refusal = "Paused"
	// RollingOut: its Deployment is between two templates; ask again later.
	RollingOut Refusal = "RollingOut"
	// NoSurge: its Deployment may have no pod too many.
	NoSurge Refusal = "NoSurge"
	// SurgeInUse: as many of its Deployment's pods are handed over, on any node,
	// as it may have too many; ask again later.
	SurgeInUse Refusal = "SurgeInUse"
	// ReplicaFailure: its Deployment cannot make pods just now.
	ReplicaFailure Refusal = "ReplicaFailure"
	// ServiceSelectsOnHash, BudgetSelectsOnHash, PolicySelectsOnHash and
	// AffinitySelectsOnHash: a Service, PodDisruptionBudget, NetworkPolicy or
	// the affinity of another pod would take it for another without its
	// pod-template-hash.
	ServiceSelectsOnHash  Refusal = "ServiceSelectsOnHash"
	BudgetSelectsOnHash   Refusal = "BudgetSelectsOnHash"
	PolicySelectsOnHash   Refusal = "PolicySelectsOnHash"
	AffinitySelectsOnHash Refusal = "AffinitySelectsOnHash"
	// ReadWriteOnce: it holds a volume that one node at a time may mount.
	ReadWriteOnce Refusal = "ReadWriteOnce"
	// HostPort: it holds a port of its node; there may be no other node with
	// that port free.
	HostPort Refusal = "HostPort"
	// QuotaFull: a ResourceQuota has no room for one more of it.
	QuotaFull Refusal = "QuotaFull"
)

// Refusals lists every refusal, for metrics that are born at zero.
var Refusals = []Refusal{
	NotOfADeployment, ArgoRollout, AlreadyEnding, NotRunning, AlreadyHanded, NotTheCurrentReplicaSet, Recreate, Paused,
	RollingOut, NoSurge, SurgeInUse, ReplicaFailure, ServiceSelectsOnHash, BudgetSelectsOnHash, PolicySelectsOnHash,
	AffinitySelectsOnHash, ReadWriteOnce, HostPort, QuotaFull,
}

// Passes says whether the same pod may be handed over a moment later.
func (r Refusal) Passes() bool { return r == SurgeInUse || r == RollingOut }

// refusePod says what the pod itself has against a hand-over.
func refusePod(pod *corev1.Pod) Refusal {
	_, handed := pod.Labels[HandedOverKey]
	_, hashed := pod.Labels[hashLabel]
	switch {
	case pod.DeletionTimestamp != nil, finished(pod):
		return AlreadyEnding
	case handed:
		return AlreadyHanded
	case !ownedBy(pod, "ReplicaSet"), !hashed:
		return NotOfADeployment
	case pod.Status.Phase != corev1.PodRunning:
		return NotRunning
	case holdsHostPort(pod):
		return HostPort
	case holdsDisk(pod):
		return ReadWriteOnce
	}
	return ""
}

// holdsDisk finds volumes that the pod names without a claim and that a cloud
// attaches to one machine at a time.
func holdsDisk(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.AWSElasticBlockStore != nil || v.GCEPersistentDisk != nil || v.AzureDisk != nil || v.Cinder != nil || v.VsphereVolume != nil {
			return true
		}
	}
	return false
}

// holdsHostPort: on the host's network the API server makes every port of a
// container one of the host.
func holdsHostPort(pod *corev1.Pod) bool {
	if pod.Spec.HostNetwork {
		return true
	}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			for _, port := range containers[i].Ports {
				if port.HostPort != 0 {
					return true
				}
			}
		}
	}
	return false
}

// refuseOwner says why the pods of a ReplicaSet cannot be handed over; owner is
// the ReplicaSet's Deployment when there is no refusal.
func refuseOwner(rs *appsv1.ReplicaSet) (owner *metav1.OwnerReference, _ Refusal) {
	owner = metav1.GetControllerOf(rs)
	switch {
	case owner == nil:
		return nil, NotOfADeployment
	case owner.Kind == "Rollout" && strings.HasPrefix(owner.APIVersion, "argoproj.io/"):
		return nil, ArgoRollout
	case owner.Kind != "Deployment" || owner.APIVersion != appsv1.SchemeGroupVersion.String():
		return nil, NotOfADeployment
	}
	return owner, ""
}

// refuseDeployment says what a Deployment has against the hand-over of a pod of
// its ReplicaSet rs, of which handed over are others already.
func refuseDeployment(deployment *appsv1.Deployment, rs *appsv1.ReplicaSet, handed int) Refusal {
	status := &deployment.Status
	surge := maxSurge(deployment)
	switch {
	case deployment.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType:
		return Recreate
	case deployment.Spec.Paused:
		return Paused
	case !isCurrent(deployment, rs):
		return NotTheCurrentReplicaSet
	case surge == 0:
		return NoSurge
	// Replicas that are not of the newest template are a rollout; replicas that
	// are missing are not: in a storm some always are.
	case status.ObservedGeneration < deployment.Generation, status.Replicas > status.UpdatedReplicas:
		return RollingOut
	case replicaFailure(deployment) != "":
		return ReplicaFailure
	case handed >= surge:
		return SurgeInUse
	}
	return ""
}

// isCurrent says whether rs has the Deployment's newest template: its own label
// apart, the same one, as the Deployment's controller compares them.
func isCurrent(deployment *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	if !metav1.IsControlledBy(rs, deployment) || rs.DeletionTimestamp != nil || deployment.DeletionTimestamp != nil {
		return false
	}
	of := rs.Spec.Template.DeepCopy()
	delete(of.Labels, hashLabel)
	return equality.Semantic.DeepEqual(of, &deployment.Spec.Template)
}

// maxSurge is how many pods a Deployment may have too many; a percentage of its
// replicas is rounded up, as its controller does.
func maxSurge(deployment *appsv1.Deployment) int {
	rolling := deployment.Spec.Strategy.RollingUpdate
	if rolling == nil || rolling.MaxSurge == nil {
		return 0
	}
	surge, err := intstr.GetScaledValueFromIntOrPercent(rolling.MaxSurge, int(replicas(deployment)), true)
	if err != nil {
		return 0 // the API server lets none pass that cannot be read
	}
	return max(0, surge)
}

// replicas is how many pods a Deployment wants.
func replicas(deployment *appsv1.Deployment) int32 { return wanted(deployment.Spec.Replicas) }

// wanted reads a number of replicas; the API's default is one.
func wanted(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

// replicaFailure is why a Deployment's ReplicaSets cannot make pods; empty when
// they can.
func replicaFailure(deployment *appsv1.Deployment) string {
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			return condition.Reason + ": " + condition.Message
		}
	}
	return ""
}

// enough is how many pods a Deployment must have available once the pod, of those
// that count now or not, is replaced: as many as it had. In a storm that may be
// less than it wants; the pod is not kept for what others lack.
func enough(deployment *appsv1.Deployment, counts bool) int32 {
	wanted := deployment.Status.AvailableReplicas
	if !counts {
		wanted++
	}
	return min(wanted, replicas(deployment))
}

// shareable says whether pods of two nodes can mount a claim at a time.
func shareable(claim *corev1.PersistentVolumeClaim) bool {
	return slices.ContainsFunc(claim.Spec.AccessModes, func(mode corev1.PersistentVolumeAccessMode) bool {
		return mode == corev1.ReadWriteMany || mode == corev1.ReadOnlyMany
	})
}

// availableAt says whether a pod has been Ready for that many seconds, as a
// ReplicaSet counts it.
func availableAt(pod *corev1.Pod, minReadySeconds int32, now time.Time) bool {
	if !ready(pod) {
		return false
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			at := condition.LastTransitionTime.Add(time.Duration(minReadySeconds) * time.Second)
			return !at.After(now)
		}
	}
	return false
}
