package webhook

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// NewScheme returns the types that this package reads and writes.
func NewScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, eventsv1.AddToScheme, admissionregistrationv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	return scheme
}

// newMapper returns the paths and scopes of these types. They do not change, so that a
// program can be put together while no API server answers, and before the CRD is there.
func newMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []schema.GroupVersionKind{
		corev1.SchemeGroupVersion.WithKind("Pod"), eventsv1.SchemeGroupVersion.WithKind("Event"),
	} {
		mapper.Add(kind, meta.RESTScopeNamespace)
	}
	for _, kind := range []schema.GroupVersionKind{
		corev1.SchemeGroupVersion.WithKind("Namespace"), corev1.SchemeGroupVersion.WithKind("Node"),
		admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingWebhookConfiguration"),
		v1alpha1.GroupVersion.WithKind("PlacementPolicy"),
	} {
		mapper.Add(kind, meta.RESTScopeRoot)
	}
	return mapper
}

// NewClient returns a client for [Registration] and [Events]. It asks nothing until it
// is used.
func NewClient(config *rest.Config) (client.Client, error) {
	c, err := client.New(config, client.Options{Scheme: NewScheme(), Mapper: newMapper()})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return c, nil
}

// NewCache returns a cache for [Memory.Watch] and [Registration.Watch]: of the webhook
// configurations it holds the one of that name, and of pods what placement reads. It
// asks nothing until it is started.
func NewCache(config *rest.Config, registration string) (cache.Cache, error) {
	c, err := cache.New(config, cache.Options{
		Scheme: NewScheme(),
		Mapper: newMapper(),
		// Nothing is listed by surprise: a kind that nobody watches would be asked of the
		// API server by whoever first reads it.
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {Transform: trimPod},
			&admissionregistrationv1.MutatingWebhookConfiguration{}: {
				Field: fields.OneTermEqualSelector(metav1.ObjectNameField, registration),
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("making a cache: %w", err)
	}
	return c, nil
}

// trimPod leaves of a pod what placement reads. Every pod of the cluster is kept in
// memory, for the room that it takes on its node, and most of a pod is what runs in it.
func trimPod(object any) (any, error) {
	pod, is := object.(*corev1.Pod)
	if !is {
		return object, nil
	}
	pod.ManagedFields = nil
	delete(pod.Annotations, corev1.LastAppliedConfigAnnotation)
	trimContainers(pod.Spec.InitContainers)
	trimContainers(pod.Spec.Containers)
	pod.Spec.EphemeralContainers, pod.Spec.Volumes = nil, nil
	pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses = nil, nil, nil
	return pod, nil
}

func trimContainers(containers []corev1.Container) {
	for i := range containers {
		c := &containers[i]
		*c = corev1.Container{Name: c.Name, Resources: c.Resources, RestartPolicy: c.RestartPolicy}
	}
}
