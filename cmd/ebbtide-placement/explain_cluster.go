package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// askWithin bounds all that is asked of the API server. Somebody waits at a terminal.
const askWithin = 15 * time.Second

// errSilent is why asking was given up.
var errSilent = fmt.Errorf("the API server did not answer within %v", askWithin)

// reference names an object of the cluster.
type reference struct {
	kind schema.GroupVersionKind
	name string
}

// String is how kubectl writes it.
func (r reference) String() string { return strings.ToLower(r.kind.Kind) + "/" + r.name }

// referable are the kinds that can be named, and what kubectl calls them for short.
var referable = []struct {
	kind  schema.GroupVersionKind
	short string
}{
	{corev1.SchemeGroupVersion.WithKind("Pod"), "po"},
	{corev1.SchemeGroupVersion.WithKind("ReplicationController"), "rc"},
	{appsv1.SchemeGroupVersion.WithKind("Deployment"), "deploy"},
	{appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), "rs"},
	{appsv1.SchemeGroupVersion.WithKind("StatefulSet"), "sts"},
	{appsv1.SchemeGroupVersion.WithKind("DaemonSet"), "ds"},
	{batchv1.SchemeGroupVersion.WithKind("Job"), "job"},
	{batchv1.SchemeGroupVersion.WithKind("CronJob"), "cj"},
}

// readReference reads KIND/NAME, the kind in the singular, the plural or for short.
func readReference(text string) (reference, error) {
	kind, name, both := strings.Cut(text, "/")
	if !both || kind == "" || name == "" {
		return reference{}, fmt.Errorf("%q is not KIND/NAME, such as deployment/coredns", text)
	}
	var known []string
	for _, r := range referable {
		singular := strings.ToLower(r.kind.Kind)
		switch strings.ToLower(kind) {
		case singular, singular + "s", r.short:
			return reference{kind: r.kind, name: name}, nil
		}
		known = append(known, singular)
	}
	return reference{}, fmt.Errorf("%q is none of the kinds that have pods: %s", kind, strings.Join(known, ", "))
}

// cluster is what is asked besides the files.
type cluster struct {
	host      string
	namespace string // of objects that name none
	clientset *kubernetes.Clientset
	untyped   *dynamic.DynamicClient
}

// connect returns the cluster that the flags and the environment name, as kubectl finds
// it; nil when they name none. It asks nothing yet.
func (q question) connect() (*cluster, error) {
	loading := clientcmd.NewDefaultClientConfigLoadingRules()
	loading.ExplicitPath = q.kubeconfig
	loading.WarnIfAllMissing = false // that no cluster is found is said here
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loading, &clientcmd.ConfigOverrides{CurrentContext: q.context})
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) && q.kubeconfig+q.context == "" {
		return nil, nil //nolint:nilnil // no cluster is not an error: the files may be enough
	}
	if err != nil {
		return nil, fmt.Errorf("reading how to reach the cluster: %w", err)
	}
	found := &cluster{host: config.Host}
	if found.namespace, _, err = loader.Namespace(); err != nil {
		return nil, fmt.Errorf("reading how to reach the cluster: %w", err)
	}
	config.QPS = -1 // a handful of requests: nothing is to be spread out
	if found.untyped, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("making a client for policies: %w", err)
	}
	config = rest.CopyConfig(config)
	// All pods of a cluster are listed: they are smaller so than in JSON, and sooner read.
	config.ContentType = runtime.ContentTypeProtobuf
	if found.clientset, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return found, nil
}

// get returns an object of the cluster.
func (c *cluster) get(ctx context.Context, r reference, namespace string) (manifest, error) {
	// Of every kind that can be named, the resource is the plural with an s.
	resource := r.kind.GroupVersion().WithResource(strings.ToLower(r.kind.Kind) + "s")
	read, err := c.untyped.Resource(resource).Namespace(namespace).Get(ctx, r.name, metav1.GetOptions{})
	if err != nil {
		return manifest{}, fmt.Errorf("reading %s in namespace %q: %w", r, namespace, given(ctx, err))
	}
	object, err := readable.New(r.kind)
	if err != nil {
		return manifest{}, fmt.Errorf("reading %s in namespace %q: %w", r, namespace, err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(read.Object, object); err != nil {
		return manifest{}, fmt.Errorf("decoding %s in namespace %q: %w", r, namespace, err)
	}
	return manifest{kind: r.kind.Kind, name: r.name, object: object}, nil
}

// given is why a call did not succeed: the context's cause, where that has ended.
func given(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// tell lets k know what decisions are made by. What the API server does not let us
// read is noted, and decided without. Without policies there is nothing to decide by:
// they are needed, unless the files hold some.
func (c *cluster) tell(ctx context.Context, k *known, policiesGiven bool) (notes []string, err error) {
	lists := []struct {
		what    string
		list    func(context.Context, *known) error
		without string
	}{
		{"policies", c.listPolicies, "those of the files are all that is decided by"},
		{"namespaces", c.listNamespaces, "one that no file describes is taken to have no label but its name"},
		{"nodes", c.listNodes, "what the long-lived nodes can hold is not known"},
		{"pods", c.listPods, "what the long-lived nodes can hold is not known"},
	}
	errs := make([]error, len(lists))
	var all sync.WaitGroup
	for i, l := range lists {
		all.Go(func() { errs[i] = l.list(ctx, k) }) // each writes to a part of k that is its own
	}
	all.Wait()
	for i, l := range lists {
		err, ofPolicies := errs[i], i == 0
		switch {
		case err == nil:
		case ofPolicies && apierrors.IsNotFound(err):
			notes = append(notes, "the cluster knows no PlacementPolicies: their CRD is not installed")
		case ofPolicies && apierrors.IsForbidden(err) && !policiesGiven:
			return nil, fmt.Errorf("listing policies, which --policies can give instead: %w", err)
		case apierrors.IsForbidden(err):
			notes = append(notes, fmt.Sprintf("%s: %v", l.without, err))
		default:
			return nil, fmt.Errorf("listing %s: %w", l.what, given(ctx, err))
		}
	}
	return notes, nil
}

func (c *cluster) listPolicies(ctx context.Context, k *known) error {
	list, err := c.untyped.Resource(v1alpha1.PlacementPolicies).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		policy := &v1alpha1.PlacementPolicy{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, policy); err != nil {
			return fmt.Errorf("decoding policy %q: %w", list.Items[i].GetName(), err)
		}
		k.policies[policy.Name] = policy
	}
	return nil
}

func (c *cluster) listNamespaces(ctx context.Context, k *known) error {
	list, err := c.clientset.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		k.namespaces[list.Items[i].Name] = &list.Items[i]
	}
	return nil
}

func (c *cluster) listNodes(ctx context.Context, k *known) error {
	list, err := c.clientset.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		k.nodes[list.Items[i].Name] = &list.Items[i]
	}
	k.nodesListed = true
	return nil
}

func (c *cluster) listPods(ctx context.Context, k *known) error {
	list, err := c.clientset.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: "status.phase!=Succeeded,status.phase!=Failed", // these take no room
	})
	if err != nil {
		return err
	}
	for i := range list.Items {
		k.pods[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
	}
	k.podsListed = true
	return nil
}
