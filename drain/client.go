package drain

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Client speaks to the API server about one node and its pods. Every call is
// one request, or as many as its comment says: nothing is retried or held back
// here, since a drain has to know about every refusal at once.
type Client struct {
	name string
	core rest.Interface
	// dryRun is nil, or "All" where writes are only rehearsed.
	dryRun []string
}

// NewClient returns a client for the node called name. It asks nothing yet.
func NewClient(config *rest.Config, name string) (*Client, error) {
	config = rest.CopyConfig(config)
	config.APIPath = "/api"
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = codecs.WithoutConversion()
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.UserAgent = FieldManager
	// Priority and fairness protects the API server; a limit of our own would
	// only hold back the calls of a storm that it is ready to take.
	config.QPS = -1
	core, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for node %q: %w", name, err)
	}
	return &Client{name: name, core: core}, nil
}

// Name is the node's name.
func (c *Client) Name() string { return c.name }

// Get reads the node.
func (c *Client) Get(ctx context.Context) (*corev1.Node, error) {
	var node corev1.Node
	err := c.core.Get().MaxRetries(0).Resource("nodes").Name(c.name).Do(ctx).Into(&node)
	if err != nil {
		return nil, fmt.Errorf("reading node %q: %w", c.name, err)
	}
	return &node, nil
}

// Mark cordons, taints and annotates the node in one patch, under an
// optimistic lock: a read and a write, once. It returns the state as written. For
// an advice it does not cordon and taints softly, or fails with [ErrUnderDrain].
func (c *Client) Mark(ctx context.Context, state State) (State, error) {
	node, err := c.Get(ctx)
	if err != nil {
		return state, err
	}
	doing := "cordoning"
	if state.Advice != "" {
		doing = "softly marking"
		if isUnderDrain(node, state.BootID) {
			return state, fmt.Errorf("%s node %q: %w", doing, c.name, ErrUnderDrain)
		}
	}
	patch, state := markPatch(node, state, time.Now())
	return state, c.patchNode(ctx, doing, patch, c.dryRun)
}

// Prove rehearses a cordon on the server without changing anything: it passes
// when the API server can be reached, takes our token, grants the patch and no
// admission policy is in the way. One request.
func (c *Client) Prove(ctx context.Context) error {
	unschedulable, value := true, "{}"
	var patch nodePatch
	patch.Metadata.Annotations = map[string]*string{StateAnnotation: &value}
	patch.Spec = &nodeSpecPatch{Unschedulable: &unschedulable}
	return c.patchNode(ctx, "rehearsing a cordon of", patch, []string{metav1.DryRunAll})
}

func (c *Client) patchNode(ctx context.Context, doing string, patch nodePatch, dryRun []string) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("%s node %q: %w", doing, c.name, err)
	}
	err = c.core.Patch(types.StrategicMergePatchType).MaxRetries(0).Resource("nodes").Name(c.name).
		VersionedParams(&metav1.PatchOptions{FieldManager: FieldManager, DryRun: dryRun}, parameterCodec).
		Body(body).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("%s node %q: %w", doing, c.name, err)
	}
	return nil
}

// relistDelay keeps a watch that the API server dropped from coming back in a
// hot loop, and never keeps a drain blind for long.
var relistDelay = wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 4, Cap: time.Second}

// Watch follows the node's pods, and the disruption budgets of all namespaces,
// until ctx ends, through interruptions of the connection and of the API server.
// One request for each, where the API server streams lists (1.32 and newer do).
func (c *Client) Watch(ctx context.Context) *Feed {
	feed := newFeed(ctx)
	ofNode := fields.OneTermEqualSelector("spec.nodeName", c.name)
	go c.reflect(ctx, "/api/v1/pods", ofNode, &corev1.Pod{}, &corev1.PodList{}, feed)
	go c.reflect(ctx, "/apis/policy/v1/poddisruptionbudgets", fields.Everything(),
		&policyv1.PodDisruptionBudget{}, &policyv1.PodDisruptionBudgetList{}, feed.guards)
	return feed
}

// reflect keeps store up to date with the resource at path until ctx ends.
func (c *Client) reflect(
	ctx context.Context, path string, selector fields.Selector, kind, list runtime.Object, store cache.ReflectorStore,
) {
	request := func(options metav1.ListOptions) *rest.Request {
		options.FieldSelector = selector.String()
		return c.core.Get().MaxRetries(0).AbsPath(path).VersionedParams(&options, parameterCodec)
	}
	lists := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			all := list.DeepCopyObject()
			err := request(options).Do(ctx).Into(all)
			return all, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.Watch = true
			return request(options).Watch(ctx)
		},
	}
	backoff := relistDelay
	cache.NewReflectorWithOptions(lists, kind, store, cache.ReflectorOptions{
		Name: path + " for " + c.name, Backoff: &backoff,
	}).RunWithContext(ctx)
}

// list reads one page of resource into page, beginning at token.
func (c *Client) list(ctx context.Context, resource, selector, token string, page runtime.Object) error {
	options := &metav1.ListOptions{LabelSelector: selector, Limit: pageSize, Continue: token}
	err := c.core.Get().MaxRetries(0).Resource(resource).
		VersionedParams(options, parameterCodec).Do(ctx).Into(page)
	if err != nil {
		return fmt.Errorf("listing %s: %w", resource, err)
	}
	return nil
}

// Evict asks for the pod's eviction with grace. The UID keeps a namesake safe.
func (c *Client) Evict(ctx context.Context, pod PodRef, grace time.Duration) error {
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: c.deleteOptions(pod, grace),
	}
	err := c.core.Post().MaxRetries(0).Namespace(pod.Namespace).Resource("pods").Name(pod.Name).
		SubResource("eviction").Body(eviction).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("evicting pod %q: %w", pod, err)
	}
	return nil
}

// Delete deletes the pod with grace, whatever its disruption budget says.
func (c *Client) Delete(ctx context.Context, pod PodRef, grace time.Duration) error {
	err := c.core.Delete().MaxRetries(0).Namespace(pod.Namespace).Resource("pods").Name(pod.Name).
		Body(c.deleteOptions(pod, grace)).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("deleting pod %q: %w", pod, err)
	}
	return nil
}

func (c *Client) deleteOptions(pod PodRef, grace time.Duration) *metav1.DeleteOptions {
	seconds := int64(grace / time.Second)
	return &metav1.DeleteOptions{
		GracePeriodSeconds: &seconds,
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
		DryRun:             c.dryRun,
	}
}

// Announce writes the moment at which the machine may die into the pod's
// [DeadlineAnnotation].
func (c *Client) Announce(ctx context.Context, pod PodRef, deadline time.Time) error {
	err := c.patchPod(ctx, pod, "", map[string]any{"metadata": map[string]any{
		// A patch of another UID is refused with 422.
		"uid":         pod.UID,
		"annotations": map[string]string{DeadlineAnnotation: deadline.UTC().Format(time.RFC3339)},
	}})
	if err != nil {
		return fmt.Errorf("announcing the deadline to pod %q: %w", pod, err)
	}
	return nil
}

// MarkDisrupted sets the DisruptionTarget condition that an eviction would have
// set, so that a Job's podFailurePolicy does not count a deletion as the
// application's failure. reason is in CamelCase.
func (c *Client) MarkDisrupted(ctx context.Context, pod PodRef, reason, message string) error {
	err := c.patchPod(ctx, pod, "status", map[string]any{
		// A patch of another UID is refused with 422.
		"metadata": map[string]any{"uid": pod.UID},
		"status": corev1.PodStatus{Conditions: []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: reason, Message: message, LastTransitionTime: metav1.Now(),
		}}},
	})
	if err != nil {
		return fmt.Errorf("marking pod %q as disrupted: %w", pod, err)
	}
	return nil
}

// patchPod sends a strategic merge patch of the pod or of its subresource.
func (c *Client) patchPod(ctx context.Context, pod PodRef, subresource string, patch any) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	request := c.core.Patch(types.StrategicMergePatchType).MaxRetries(0).
		Namespace(pod.Namespace).Resource("pods").Name(pod.Name)
	if subresource != "" {
		request = request.SubResource(subresource)
	}
	return request.VersionedParams(&metav1.PatchOptions{FieldManager: FieldManager, DryRun: c.dryRun}, parameterCodec).
		Body(body).Do(ctx).Error()
}
