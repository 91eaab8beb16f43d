package drain

import (
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A hand-over is make before break: the pod changes its owner from its
// ReplicaSet to its Deployment and loses the pod-template-hash, both in one
// patch. The ReplicaSet misses it and makes another; the pod serves on, counts
// for its disruption budgets as before, belongs to somebody all the time, so that
// nobody else adopts it, and is collected with its Deployment. What follows is
// pure: patches and what they say. Whether a pod may be handed over is in
// handover_refusal.go, the doing in handover_begin.go.

// hashLabel tells the pods of a Deployment's ReplicaSets apart.
const hashLabel = appsv1.DefaultDeploymentUniqueLabelKey

// HandOverPolicy says when a pod is handed over.
type HandOverPolicy string

// The policies.
const (
	// HandOverWhenBlocked: when its disruption budget does not let it go.
	HandOverWhenBlocked HandOverPolicy = "WhenBlocked"
	// HandOverAlways: before its first eviction.
	HandOverAlways HandOverPolicy = "Always"
	// HandOverNever: not at all.
	HandOverNever HandOverPolicy = "Never"
)

// PolicyFor returns the policy that the pod's author chose by
// [HandOverAnnotation], or fallback where there is none. A value that is no
// policy counts as none: a typing error must not take a pod out of every drain.
func PolicyFor(pod *corev1.Pod, fallback HandOverPolicy) HandOverPolicy {
	switch own := HandOverPolicy(pod.Annotations[HandOverAnnotation]); own {
	case HandOverWhenBlocked, HandOverAlways, HandOverNever:
		return own
	default:
		return fallback
	}
}

// HandOver is what a pod that is handed over carries: all that is needed to wait
// for its replacement, and to give it back. The order of the fields is part of the
// format: the chart's admission policies read the beginning of its JSON.
type HandOver struct {
	// Hash is the pod-template-hash that was taken off.
	Hash string `json:"hash"`
	// ReplicaSet and ReplicaSetUID name the owner that it was taken from.
	ReplicaSet    string    `json:"replicaSet"`
	ReplicaSetUID types.UID `json:"replicaSetUID"`
	// Notice is the interruption that it was handed over for.
	Notice string `json:"notice"`
	// Available is how many pods its Deployment must have available, this one
	// not counted, before its replacement can be said to stand in for it.
	Available int32 `json:"available"`
}

// HandOverOf reads what pod carries; nil when it is not handed over. It fails on
// an annotation that cannot be read, which is not one of ours.
func HandOverOf(pod *corev1.Pod) (*HandOver, error) {
	if _, ok := pod.Labels[HandedOverKey]; !ok {
		return nil, nil //nolint:nilnil // a pod that is not handed over is the usual case and not an error
	}
	var handOver HandOver
	if err := json.Unmarshal([]byte(pod.Annotations[HandedOverKey]), &handOver); err != nil {
		return nil, fmt.Errorf("reading annotation %q of pod %q: %w", HandedOverKey, refOf(pod), err)
	}
	return &handOver, nil
}

// podPatch is the JSON merge patch that hands a pod over, takes it back, or gives it
// its deletion cost back; what it leaves empty stays as it is. A merge patch replaces
// ownerReferences as a whole: between two patches of its elements the pod would have
// no controller. The UID and the resourceVersion make it fail on any pod but the one
// that was looked at.
type podPatch struct {
	Metadata podMetadataPatch `json:"metadata"`
}

type podMetadataPatch struct {
	UID             types.UID               `json:"uid"`
	ResourceVersion string                  `json:"resourceVersion"`
	Labels          map[string]*string      `json:"labels,omitempty"`
	Annotations     map[string]*string      `json:"annotations"`
	OwnerReferences []metav1.OwnerReference `json:"ownerReferences,omitempty"`
}

func newPodPatch(pod *corev1.Pod) podPatch {
	return podPatch{podMetadataPatch{UID: pod.UID, ResourceVersion: pod.ResourceVersion}}
}

// handOverPatch hands pod over to deployment.
func handOverPatch(pod *corev1.Pod, deployment *appsv1.Deployment, handOver HandOver) podPatch {
	text, err := json.Marshal(handOver)
	if err != nil {
		panic(err) // unreachable: strings and numbers always marshal
	}
	note := string(text)
	patch := newPodPatch(pod)
	patch.Metadata.Labels = map[string]*string{hashLabel: nil, HandedOverKey: &handOver.Hash}
	patch.Metadata.Annotations = map[string]*string{HandedOverKey: &note}
	patch.Metadata.OwnerReferences = withController(pod, "Deployment", deployment.Name, deployment.UID)
	return patch
}

// takeBackPatch gives pod back to the ReplicaSet that it was taken from, and makes
// it dear: the ReplicaSet then has one too many, and shall delete the replacement.
func takeBackPatch(pod *corev1.Pod, handOver HandOver) podPatch {
	patch := newPodPatch(pod)
	patch.Metadata.Labels = map[string]*string{hashLabel: &handOver.Hash, HandedOverKey: nil}
	patch.Metadata.Annotations = map[string]*string{HandedOverKey: nil}
	raiseCost(pod, patch.Metadata.Annotations)
	patch.Metadata.OwnerReferences = withController(pod, "ReplicaSet", handOver.ReplicaSet, handOver.ReplicaSetUID)
	return patch
}

// withController returns the pod's owners with the controller replaced by an
// object of apps/v1, in its place. The reference does not block the owner's
// deletion: to write one that does, clusters that enforce permissions on owner
// references ask for more than an agent should have, and all that it adds is
// that a foreground deletion waits for the pod.
func withController(pod *corev1.Pod, kind, name string, uid types.UID) []metav1.OwnerReference {
	controller := true
	owners := slices.Clone(pod.OwnerReferences)
	for i := range owners {
		if owners[i].Controller != nil && *owners[i].Controller {
			owners[i] = metav1.OwnerReference{
				APIVersion: appsv1.SchemeGroupVersion.String(), Kind: kind, Name: name, UID: uid, Controller: &controller,
			}
		}
	}
	return owners
}

func refOf(pod *corev1.Pod) PodRef {
	return PodRef{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
}
