package audit

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
)

// Cluster is what a [Runner] looks at. It answers from memory.
type Cluster interface {
	// View returns the cluster as it is known now. It fails while it is not known.
	View(ctx context.Context) (View, error)
}

// Cached returns the cluster as a cache of controller-runtime knows it: the one that
// the webhook decides by, so that nothing is watched twice. The cache's scheme has to
// know the policies.
func Cached(reader client.Reader) Cluster { return cached{reader} }

type cached struct{ reader client.Reader }

func (c cached) View(ctx context.Context) (View, error) {
	var (
		policies   v1alpha1.PlacementPolicyList
		namespaces corev1.NamespaceList
		nodes      corev1.NodeList
		pods       corev1.PodList
	)
	for what, list := range map[string]client.ObjectList{
		"policies": &policies, "namespaces": &namespaces, "nodes": &nodes, "pods": &pods,
	} {
		// The objects stay the cache's: an audit changes none of them.
		if err := c.reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return View{}, fmt.Errorf("listing the %s that are known: %w", what, err)
		}
	}
	view := View{
		Policies: policies.Items, Namespaces: make(map[string]placement.Namespace, len(namespaces.Items)),
		Nodes: pointers(nodes.Items), Pods: pointers(pods.Items),
	}
	for i := range namespaces.Items {
		n := &namespaces.Items[i]
		view.Namespaces[n.Name] = placement.Namespace{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations}
	}
	return view, nil
}

func pointers[T any](items []T) []*T {
	all := make([]*T, 0, len(items))
	for i := range items {
		all = append(all, &items[i])
	}
	return all
}
