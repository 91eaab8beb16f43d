package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/audit"
)

// known is what decisions are made by.
type known struct {
	policies   map[string]*v1alpha1.PlacementPolicy
	namespaces map[string]*corev1.Namespace
	nodes      map[string]*corev1.Node
	pods       map[types.NamespacedName]*corev1.Pod
	// asked is true when a cluster was asked for all this, nodesListed and podsListed
	// when it also told.
	asked, nodesListed, podsListed bool
}

func newKnown() *known {
	return &known{
		policies: map[string]*v1alpha1.PlacementPolicy{}, namespaces: map[string]*corev1.Namespace{},
		nodes: map[string]*corev1.Node{}, pods: map[types.NamespacedName]*corev1.Pod{},
	}
}

// add adds what a file says. Of pods only those count that are on a node, or were in
// some cluster.
func (k *known) add(m manifest, namespace string) {
	switch o := m.object.(type) {
	case *v1alpha1.PlacementPolicy:
		k.policies[o.Name] = o
	case *corev1.Namespace:
		k.namespaces[o.Name] = o
	case *corev1.Node:
		k.nodes[o.Name] = o
	case *corev1.Pod:
		if o.Spec.NodeName != "" || o.UID != "" {
			key := client.ObjectKeyFromObject(o)
			key.Namespace = cmp.Or(key.Namespace, namespace)
			k.pods[key] = o
		}
	}
}

// judge is what is known, made ready for decisions.
type judge struct {
	*known
	policies placement.Policies
	rules    placement.Rules
	capacity placement.Capacity // nil when it is not known
	// rendered is true when an admission policy places the pods, and no webhook.
	rendered bool
}

// judge makes ready what is known, and notes what is not.
func (k *known) judge(q question, found *answers) judge {
	j := judge{known: k, rules: q.rules, rendered: q.config.Mode == AdmissionPolicy}
	nodes := slices.Collect(maps.Values(k.nodes))
	if k.nodesListed || len(nodes) > 0 {
		j.rules = j.rules.WithSoftTaints(placement.SoftTaints(j.rules, nodes))
	}
	j.policies = k.compile(q, j.rules, found)
	if !j.rendered {
		j.capacity = k.capacity(j.rules, nodes, found)
	}
	return j
}

// compile returns the policies in force.
func (k *known) compile(q question, rules placement.Rules, found *answers) placement.Policies {
	var items []v1alpha1.PlacementPolicy
	for _, name := range slices.Sorted(maps.Keys(k.policies)) {
		items = append(items, *k.policies[name])
	}
	policies, rejections := placement.Compile(items)
	for _, rejection := range rejections {
		found.note("policy %q is ignored: %v", rejection.Policy, rejection.Err)
	}
	if len(items) == 0 {
		found.note("there are no policies: pods are placed by what they ask for themselves")
	}
	if q.config.Mode != AdmissionPolicy {
		return policies
	}
	rendering := placement.Render(policies, rules, placement.RenderOptions{
		Name: q.config.AdmissionPolicy.Name, OwnNamespace: q.config.Namespace,
	})
	for _, refusal := range rendering.Refused {
		found.note("policy %q is not rendered: %s", refusal.Policy, refusal.Message)
	}
	return rendering.InForce
}

// capacity reckons what the long-lived nodes can hold, as the webhook does.
func (k *known) capacity(rules placement.Rules, nodes []*corev1.Node, found *answers) placement.Capacity {
	nodesKnown := k.nodesListed || len(nodes) > 0
	switch {
	case k.asked && (!nodesKnown || !k.podsListed):
		return nil // noted when it could not be listed
	case !nodesKnown:
		found.note("no nodes are given: what the long-lived nodes can hold is not known")
		return nil
	case !k.asked && len(k.pods) == 0:
		found.note("no pods are given: the nodes are taken to be empty")
	}
	pods := slices.Collect(maps.Values(k.pods))
	longLived := slices.DeleteFunc(nodes, func(n *corev1.Node) bool { return !rules.LongLived(n.Labels) })
	// What an earlier decision recorded on the pods says whose pods waited in vain.
	now := time.Now()
	lately := audit.Audit(audit.View{Pods: pods}, rules, now, audit.Memory{}).Memory.LatelyPending()
	return placement.NewSnapshot(rules, placement.NodeStates(longLived, pods), lately)
}

// explain decides about one object.
func (j judge) explain(m manifest, namespace string) (placement.Explanation, error) {
	pod, err := placement.PodOf(m.object)
	if err != nil {
		return placement.Explanation{}, err
	}
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if pod.UID != "" && pod.Spec.NodeName != "" {
		// It is there already: that it has a node is not its author's doing.
		note("the pod runs on node %q%s; it is decided about as if it were created again", pod.Spec.NodeName, j.nodeKind(pod.Spec.NodeName))
		pod.Spec.NodeName = ""
	}
	in, described := j.namespace(cmp.Or(pod.Namespace, namespace))
	if !described {
		note("namespace %q is not known, and taken to have no label but its name", in.Name)
	}
	if j.rendered && pod.Annotations[placement.OverrideAnnotation] == placement.OverrideLongLived && len(j.policies.Governing(pod, in)) == 0 {
		note("an admission policy does not act on the annotation %s alone", placement.OverrideAnnotation)
		delete(pod.Annotations, placement.OverrideAnnotation)
	}
	explanation, err := placement.Explain(pod, in, j.policies, j.rules, j.capacity)
	if err != nil {
		return placement.Explanation{}, err
	}
	if explanation.Notes = notes; m.kind != "Pod" {
		explanation.Object = m.String()
	}
	return explanation, nil
}

// nodeKind says what a pod's node is, to follow its name.
func (j judge) nodeKind(name string) string {
	node := j.nodes[name]
	switch {
	case node == nil:
		return ""
	case j.rules.Spot(node.Labels):
		return ", a spot node"
	case j.rules.LongLived(node.Labels):
		return ", a long-lived node"
	}
	return ", neither a spot nor a long-lived node"
}

// namespace returns what is known of a namespace, or else what is known of any.
func (j judge) namespace(name string) (namespace placement.Namespace, described bool) {
	namespace = placement.Namespace{Name: name, Labels: map[string]string{}}
	if known := j.namespaces[name]; known != nil {
		described = true
		maps.Copy(namespace.Labels, known.Labels)
		namespace.Annotations = known.Annotations
	}
	// The API server sees to this one.
	namespace.Labels[corev1.LabelMetadataName] = name
	return namespace, described
}
