//go:build linux && e2e_nodes

package nodes_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes"
	"github.com/ebbtide/ebbtide/placement"
)

// stuck is handed over as soon as there is a notice, and stays so: its replacement finds
// no node.
const stuck = `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: stuck}
spec: {minAvailable: 1, selector: {matchLabels: {app: stuck}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: stuck}
spec:
  replicas: 1
  selector: {matchLabels: {app: stuck}}
  template:
    metadata: {labels: {app: stuck}}
    spec:
      nodeSelector: {kubernetes.io/hostname: NODE}
      terminationGracePeriodSeconds: 10
      containers: [{name: main, image: IMAGE, args: [sleep, --linger, 1s]}]
`

// lastNotice leaves time for the uninstallation before anything is forced.
const lastNotice = time.Minute

// nothingIsLeft uninstalls Ebbtide in the middle of a drain, which is the worst moment, and
// looks for what is left of it.
func nothingIsLeft(t *testing.T, cluster *nodes.Cluster, node *nodes.Node) {
	t.Helper()
	namespace := cluster.Lab().Namespace(t)
	apply(t, cluster, namespace, strings.ReplaceAll(stuck, "NODE", node.Name))
	before := onlyPod(t, cluster, namespace, "app=stuck")
	helm(t, cluster, append([]string{"upgrade", release, chartFolder}, settings("sweep.onUninstall=true")...)...)
	must(t, node.Interrupt(t.Context(), lastNotice))
	must(t, cluster.Lab().WaitPods(within(t, time.Minute), namespace, "app=stuck,"+drain.HandedOverKey, func(pods []corev1.Pod) bool { return len(pods) == 1 }))

	// Others of this node's pods may be handed over, too, and be gone in a moment.
	if len(leftOnNodes(t, cluster)) != 1 || len(leftOnPods(t, cluster)) == 0 {
		t.Fatalf("before it goes: %q and %q, want a node and pods with something of ours", leftOnNodes(t, cluster), leftOnPods(t, cluster))
	}

	began := time.Now()
	helm(t, cluster, "uninstall", release, "--wait", "--timeout", "3m")
	t.Logf("uninstalled after %s", time.Since(began).Round(100*time.Millisecond))
	if left := leftOnNodes(t, cluster); len(left) > 0 {
		t.Errorf("when Helm is done, there is still %q", left)
	}
	// An agent in a drain does not give up before its end. It must not begin anew either.
	must(t, cluster.Lab().WaitPods(within(t, 3*time.Minute), release, "", lab.AllReady(0)))

	nodesLeft := leftOnNodes(t, cluster)
	figure(t, "nodes with something of ours", "0", fmt.Sprintf("%d %q", len(nodesLeft), nodesLeft), len(nodesLeft) == 0)
	if looksOf(t, cluster, node).Unschedulable {
		t.Errorf("node %s is still cordoned", node.Name)
	}
	// The ReplicaSet has a pod too many, once it has its own back.
	after := onlyPod(t, cluster, namespace, "app=stuck,pod-template-hash")
	figure(t, "the pod that was handed over", "its ReplicaSet's again", fmt.Sprintf("the same pod: %t", after.UID == before.UID), after.UID == before.UID)
	podsLeft := leftOnPods(t, cluster)
	figure(t, "pods with something of ours", "0", fmt.Sprintf("%d %q", len(podsLeft), podsLeft), len(podsLeft) == 0)
	objects := leftObjects(t, cluster)
	figure(t, "objects of the chart's", "0", fmt.Sprintf("%d %q", len(objects), objects), len(objects) == 0)
}

// leftOnNodes says which nodes carry a key of ours.
func leftOnNodes(t *testing.T, cluster *nodes.Cluster) []string {
	t.Helper()
	list, err := cluster.Lab().Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	must(t, err)
	var left []string
	for _, node := range list.Items {
		keys := ownKeys(node.Labels, node.Annotations)
		for _, taint := range node.Spec.Taints {
			keys = append(keys, ownKeys(map[string]string{taint.Key: ""})...)
		}
		if len(keys) > 0 {
			left = append(left, fmt.Sprintf("%s: %q", node.Name, keys))
		}
	}
	return left
}

// stays are keys on pods that nobody takes off when Ebbtide goes: what their authors ask
// for, and the record of a placement, which says why the pod has its affinity.
var stays = []string{
	drain.HandOverAnnotation, drain.WaitAnnotation, drain.DeadlineAnnotation, placement.OverrideAnnotation, placement.DecisionAnnotation,
}

// leftOnPods says which pods carry a key of ours, or say something that we have told them.
func leftOnPods(t *testing.T, cluster *nodes.Cluster) []string {
	t.Helper()
	list, err := cluster.Lab().Client().CoreV1().Pods(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	var left []string
	for _, pod := range list.Items {
		keys := slices.DeleteFunc(ownKeys(pod.Labels, pod.Annotations), func(key string) bool { return slices.Contains(stays, key) })
		for _, key := range []string{drain.DeadlineAnnotation, corev1.PodDeletionCost} { // no pod's author has given them a value
			if pod.Annotations[key] != "" {
				keys = append(keys, key)
			}
		}
		if len(keys) > 0 {
			left = append(left, fmt.Sprintf("%s/%s: %q", pod.Namespace, pod.Name, keys))
		}
	}
	return left
}

// ownKeys returns those of our own, and the label by which we take a node out of its load
// balancers.
func ownKeys(all ...map[string]string) []string {
	var own []string
	for _, keys := range all {
		for key := range keys {
			if domain, _, _ := strings.Cut(key, "/"); domain == "ebbtide.dev" || key == drain.ExcludeLabel {
				own = append(own, key)
			}
		}
	}
	return own
}

// leftObjects lists what the chart and its programs have made, of all kinds that the API
// server knows: what carries the release's label, and what is in its namespace.
func leftObjects(t *testing.T, cluster *nodes.Cluster) []string {
	t.Helper()
	config := cluster.Lab().Config()
	config.WarningHandler = rest.NoWarnings{} // of kinds that are deprecated: they are looked at too
	client, err := dynamic.NewForConfig(config)
	must(t, err)
	kinds, err := cluster.Lab().Client().Discovery().ServerPreferredResources()
	must(t, err)
	var left []string
	for _, group := range kinds {
		version, err := schema.ParseGroupVersion(group.GroupVersion)
		must(t, err)
		for _, kind := range group.APIResources {
			if !slices.Contains(kind.Verbs, "list") {
				continue
			}
			resource := client.Resource(version.WithResource(kind.Name))
			labelled, err := resource.List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + release})
			must(t, err)
			found := labelled.Items
			if kind.Namespaced {
				inside, err := resource.Namespace(release).List(t.Context(), metav1.ListOptions{})
				must(t, err)
				found = append(found, inside.Items...)
			}
			for _, object := range found {
				left = append(left, object.GetKind()+" "+object.GetName())
			}
		}
	}
	slices.Sort(left)
	return slices.DeleteFunc(slices.Compact(left), goesWithTheNamespace)
}

// goesWithTheNamespace says whether an object stays as long as the release's namespace,
// which Helm leaves: what Kubernetes puts into each, Events, and the Lease by which
// placement's replicas have elected a leader, which Helm knows nothing of.
func goesWithTheNamespace(object string) bool {
	switch object {
	case "ConfigMap kube-root-ca.crt", "ServiceAccount default", "Lease ebbtide-placement":
		return true
	}
	return strings.HasPrefix(object, "Event ")
}
