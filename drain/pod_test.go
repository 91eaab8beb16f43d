package drain

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// noon is the moment at which tests without a clock take place.
var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// trait changes one thing about a pod under construction.
type trait func(*corev1.Pod)

// newPod returns a running, ready pod of a ReplicaSet in the namespace "default"
// with the default grace, changed by each of traits. Its UID is "uid-" and name.
func newPod(name string, traits ...trait) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	owner("apps/v1", "ReplicaSet")(pod)
	for _, apply := range traits {
		apply(pod)
	}
	return pod
}

// podList returns copies of pods, as a snapshot holds them.
func podList(pods ...*corev1.Pod) []corev1.Pod {
	list := make([]corev1.Pod, 0, len(pods))
	for _, pod := range pods {
		list = append(list, *pod.DeepCopy())
	}
	return list
}

func owner(apiVersion, kind string) trait {
	return func(pod *corev1.Pod) {
		controller := true
		pod.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: apiVersion, Kind: kind, Name: "owner", UID: "uid-owner", Controller: &controller,
		}}
	}
}

func bare(pod *corev1.Pod) { pod.OwnerReferences = nil }

func statefulSet(pod *corev1.Pod) { owner("apps/v1", "StatefulSet")(pod) }

func daemonSet(pod *corev1.Pod) { owner("apps/v1", "DaemonSet")(pod) }

func namespace(name string) trait { return func(pod *corev1.Pod) { pod.Namespace = name } }

func uid(uid types.UID) trait { return func(pod *corev1.Pod) { pod.UID = uid } }

func grace(seconds int64) trait {
	return func(pod *corev1.Pod) { pod.Spec.TerminationGracePeriodSeconds = &seconds }
}

func withPriority(value int32) trait { return func(pod *corev1.Pod) { pod.Spec.Priority = &value } }

func phaseOf(phase corev1.PodPhase) trait { return func(pod *corev1.Pod) { pod.Status.Phase = phase } }

func label(key, value string) trait {
	return func(pod *corev1.Pod) { metav1.SetMetaDataLabel(&pod.ObjectMeta, key, value) }
}

func mirror(pod *corev1.Pod) {
	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, corev1.MirrorPodAnnotationKey, "hash")
}

func claim(pod *corev1.Pod) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: "data",
		VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		},
	})
}

func ephemeralClaim(pod *corev1.Pod) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}},
	})
}

func emptyDir(pod *corev1.Pod) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
}

// terminating is a pod that somebody deleted.
func terminating(pod *corev1.Pod) {
	at := metav1.NewTime(noon)
	pod.DeletionTimestamp = &at
}

func toleration(t corev1.Toleration) trait {
	return func(pod *corev1.Pod) { pod.Spec.Tolerations = append(pod.Spec.Tolerations, t) }
}

// toleratesAll lets a pod run on any node, as the pods of many agents do.
func toleratesAll(pod *corev1.Pod) {
	toleration(corev1.Toleration{Operator: corev1.TolerationOpExists})(pod)
}
