package drain

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// What a hand-over asks of the API server. Each method is one request, or as many
// as its comment says.

// resourcePath returns the URL path of a namespace's resource, or of one object of it.
func resourcePath(group, namespace, resource string, name ...string) string {
	return strings.Join(append([]string{group, "namespaces", namespace, resource}, name...), "/")
}

// The paths of the API groups.
const (
	coreGroup       = "/api/v1"
	appsGroup       = "/apis/apps/v1"
	policyGroup     = "/apis/policy/v1"
	networkingGroup = "/apis/networking.k8s.io/v1"
)

// read gets one object; what names its kind in an error.
func (c *Client) read(ctx context.Context, what, group, namespace, resource, name string, into runtime.Object) error {
	err := c.core.Get().MaxRetries(0).AbsPath(resourcePath(group, namespace, resource, name)).Do(ctx).Into(into)
	if err != nil {
		return fmt.Errorf("reading %s %q: %w", what, namespace+"/"+name, err)
	}
	return nil
}

func (c *Client) pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	var pod corev1.Pod
	return &pod, c.read(ctx, "pod", coreGroup, namespace, "pods", name, &pod)
}

func (c *Client) replicaSet(ctx context.Context, namespace, name string) (*appsv1.ReplicaSet, error) {
	var rs appsv1.ReplicaSet
	return &rs, c.read(ctx, "ReplicaSet", appsGroup, namespace, "replicasets", name, &rs)
}

func (c *Client) deployment(ctx context.Context, namespace, name string) (*appsv1.Deployment, error) {
	var deployment appsv1.Deployment
	return &deployment, c.read(ctx, "Deployment", appsGroup, namespace, "deployments", name, &deployment)
}

// page is a list that the API server may send in parts.
type page[L any] interface {
	*L
	runtime.Object
	metav1.ListInterface
}

// pages lists a namespace's resource: one request for each pageSize objects.
func pages[L any, P page[L]](
	ctx context.Context, c *Client, group, namespace, resource string, options metav1.ListOptions, each func(*L),
) error {
	for options.Limit = pageSize; ; {
		list := P(new(L))
		err := c.core.Get().MaxRetries(0).AbsPath(resourcePath(group, namespace, resource)).
			VersionedParams(&options, parameterCodec).Do(ctx).Into(list)
		if err != nil {
			return fmt.Errorf("listing %s of namespace %q: %w", resource, namespace, err)
		}
		each((*L)(list))
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
		// The token names the version that the first part came from.
		options.ResourceVersion, options.ResourceVersionMatch = "", ""
	}
}

// handedOver counts the pods that are handed over to each Deployment of a
// namespace and still serve, on whichever node. version is the resourceVersion
// of a pod: they are counted as they were at that moment. Empty means now.
func (c *Client) handedOver(ctx context.Context, namespace, version string) (map[types.UID]int, error) {
	options := metav1.ListOptions{LabelSelector: HandedOverKey}
	if version != "" {
		options.ResourceVersion, options.ResourceVersionMatch = version, metav1.ResourceVersionMatchExact
	}
	count := map[types.UID]int{}
	err := pages(ctx, c, coreGroup, namespace, "pods", options, func(pods *corev1.PodList) {
		for i := range pods.Items {
			// A pod that is ending is no pod too many to a Deployment either.
			pod := &pods.Items[i]
			if owner := metav1.GetControllerOf(pod); owner != nil && pod.DeletionTimestamp == nil && !finished(pod) {
				count[owner.UID]++
			}
		}
	})
	return count, err
}

// available counts the pods of a Deployment that have been Ready for its
// minReadySeconds, those that are handed over not among them: its controller's
// availableReplicas, but as the API server has it now.
func (c *Client) available(ctx context.Context, deployment *appsv1.Deployment, now time.Time) (int32, error) {
	options := metav1.ListOptions{LabelSelector: asSelector(deployment.Spec.Selector).String()}
	count := int32(0)
	err := pages(ctx, c, coreGroup, deployment.Namespace, "pods", options, func(pods *corev1.PodList) {
		for i := range pods.Items {
			if ownedBy(&pods.Items[i], "ReplicaSet") && availableAt(&pods.Items[i], deployment.Spec.MinReadySeconds, now) {
				count++
			}
		}
	})
	return count, err
}

// surroundings reads what speaks of a namespace's pods: five requests, and more
// where there are more than pageSize of a kind.
func (c *Client) surroundings(ctx context.Context, namespace string) (*surroundings, error) {
	var around surroundings
	var all metav1.ListOptions
	err := pages(ctx, c, coreGroup, namespace, "services", all, func(list *corev1.ServiceList) {
		around.services = append(around.services, list.Items...)
	})
	if err == nil {
		err = pages(ctx, c, policyGroup, namespace, "poddisruptionbudgets", all, func(list *policyv1.PodDisruptionBudgetList) {
			around.budgets = append(around.budgets, list.Items...)
		})
	}
	if err == nil {
		err = pages(ctx, c, networkingGroup, namespace, "networkpolicies", all, func(list *networkingv1.NetworkPolicyList) {
			around.policies = append(around.policies, list.Items...)
		})
	}
	if err == nil {
		err = pages(ctx, c, coreGroup, namespace, "resourcequotas", all, func(list *corev1.ResourceQuotaList) {
			around.quotas = append(around.quotas, list.Items...)
		})
	}
	if err == nil {
		err = pages(ctx, c, coreGroup, namespace, "pods", all, func(list *corev1.PodList) {
			for i := range list.Items {
				around.affinities = append(around.affinities, hashAffinities(&list.Items[i])...)
			}
		})
	}
	return &around, err
}

// holdsExclusiveVolume says whether the pod mounts a claim that pods of two nodes
// cannot mount at a time. One request for each claim; a volume made for the pod
// alone is none.
func (c *Client) holdsExclusiveVolume(ctx context.Context, pod *corev1.Pod) (bool, error) {
	for i := range pod.Spec.Volumes {
		source := pod.Spec.Volumes[i].PersistentVolumeClaim
		if source == nil {
			continue
		}
		var claim corev1.PersistentVolumeClaim
		err := c.read(ctx, "claim", coreGroup, pod.Namespace, "persistentvolumeclaims", source.ClaimName, &claim)
		if err != nil {
			return false, err
		}
		if !shareable(&claim) {
			return true, nil
		}
	}
	return false, nil
}

// changePod applies a JSON merge patch to the pod and returns it as it is then.
func (c *Client) changePod(ctx context.Context, doing string, ref PodRef, patch any) (*corev1.Pod, error) {
	var pod corev1.Pod
	body, err := json.Marshal(patch)
	if err == nil {
		err = c.core.Patch(types.MergePatchType).MaxRetries(0).
			AbsPath(resourcePath(coreGroup, ref.Namespace, "pods", ref.Name)).
			VersionedParams(&metav1.PatchOptions{FieldManager: FieldManager, DryRun: c.dryRun}, parameterCodec).
			Body(body).Do(ctx).Into(&pod)
	}
	if err != nil {
		return nil, fmt.Errorf("%s pod %q: %w", doing, ref, err)
	}
	return &pod, nil
}

// followDeployment keeps store up to date with one Deployment until ctx ends. One
// request, where the API server streams lists.
func (c *Client) followDeployment(ctx context.Context, name types.NamespacedName, store cache.ReflectorStore) {
	c.reflect(ctx, resourcePath(appsGroup, name.Namespace, "deployments"),
		fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name),
		&appsv1.Deployment{}, &appsv1.DeploymentList{}, store)
}

// Successor returns what hands the node's pods over in a drain for notice.
func (c *Client) Successor(notice string) Successor { return NewHandOvers(c, notice) }
