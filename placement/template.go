package placement

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// templateHash stands for the hash that nobody knows before a ReplicaSet is made.
const templateHash = "0000000000"

// PodOf returns the pod that a controller would create from the object, or a copy of
// the object when it is a pod: with the owner, labels and names that [Decide] reads.
// It knows Deployments, ReplicaSets, ReplicationControllers, StatefulSets, DaemonSets,
// Jobs and CronJobs, and returns an error for anything else. The object's fields are
// taken as they are: nothing is defaulted.
func PodOf(object runtime.Object) (*corev1.Pod, error) {
	switch o := object.(type) {
	case *corev1.Pod:
		return o.DeepCopy(), nil
	case *appsv1.Deployment:
		pod := podFrom(&o.Spec.Template, o, "ReplicaSet", o.Name+"-"+templateHash)
		metav1.SetMetaDataLabel(&pod.ObjectMeta, appsv1.DefaultDeploymentUniqueLabelKey, templateHash)
		return pod, nil
	case *appsv1.ReplicaSet:
		return podFrom(&o.Spec.Template, o, "ReplicaSet", o.Name), nil
	case *corev1.ReplicationController:
		if o.Spec.Template == nil {
			return nil, fmt.Errorf("reading the pod template of ReplicationController %q: there is none", o.Name)
		}
		pod := podFrom(o.Spec.Template, o, "ReplicationController", o.Name)
		pod.OwnerReferences[0].APIVersion = corev1.SchemeGroupVersion.String()
		return pod, nil
	case *appsv1.StatefulSet:
		pod := podFrom(&o.Spec.Template, o, "StatefulSet", o.Name)
		pod.GenerateName, pod.Name = "", o.Name+"-0"
		metav1.SetMetaDataLabel(&pod.ObjectMeta, appsv1.StatefulSetPodNameLabel, pod.Name)
		metav1.SetMetaDataLabel(&pod.ObjectMeta, appsv1.PodIndexLabel, "0")
		return pod, nil
	case *appsv1.DaemonSet:
		return podFrom(&o.Spec.Template, o, "DaemonSet", o.Name), nil
	case *batchv1.Job:
		return jobPod(&o.Spec.Template, o, o.Name), nil
	case *batchv1.CronJob:
		// The controller appends the minute of the schedule.
		return jobPod(&o.Spec.JobTemplate.Spec.Template, o, o.Name+"-0"), nil
	}
	return nil, fmt.Errorf("reading the pod template of a %T: the kind has none that is known", object)
}

func jobPod(template *corev1.PodTemplateSpec, object metav1.Object, job string) *corev1.Pod {
	pod := podFrom(template, object, "Job", job)
	pod.OwnerReferences[0].APIVersion = batchv1.SchemeGroupVersion.String()
	metav1.SetMetaDataLabel(&pod.ObjectMeta, batchv1.JobNameLabel, job)
	return pod
}

func podFrom(template *corev1.PodTemplateSpec, object metav1.Object, ownerKind, ownerName string) *corev1.Pod {
	template = template.DeepCopy()
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: ownerName + "-", Namespace: object.GetNamespace(),
			Labels: template.Labels, Annotations: template.Annotations, Finalizers: template.Finalizers,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: appsv1.SchemeGroupVersion.String(), Kind: ownerKind, Name: ownerName, UID: object.GetUID(),
				Controller: new(true), BlockOwnerDeletion: new(true),
			}},
		},
		Spec: template.Spec,
	}
	return pod
}
