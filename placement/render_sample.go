package placement

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Sample is a pod that a policy matches, to try a rendering out with.
type Sample struct {
	Policy string
	// Pod has the labels, the owner and the priority class that the policy asks for, and
	// nothing else: no name, no container.
	Pod *corev1.Pod
}

// Samples makes a pod for each policy in force, in the order in which they win. There
// is none for a policy that means other namespaces, or that asks for what no pod can
// have. Another policy may match the sample too, and govern it.
func (r Rendering) Samples(namespace Namespace) []Sample {
	var samples []Sample
	for i := range r.InForce.ordered {
		p := &r.InForce.ordered[i]
		pod := p.sample()
		owners, n := workloads(pod)
		if p.matches(pod, namespace, owners[:n]) {
			samples = append(samples, Sample{Policy: p.name, Pod: pod})
		}
	}
	return samples
}

// sample makes a pod that meets each criterion by itself. Whether it meets them together
// is the caller's to ask.
func (p *policy) sample() *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: sampleLabels(p.pods)}}
	if classes := p.match.PriorityClassNames; len(classes) > 0 {
		pod.Spec.PriorityClassName = classes[0]
	}
	if len(p.match.Owners) == 0 {
		return pod
	}
	wanted := p.match.Owners[0]
	name := strings.NewReplacer("*", "x", "?", "x").Replace(wanted.Name)
	if name == "" {
		name = "x"
	}
	owner := metav1.OwnerReference{APIVersion: "apps/v1", Kind: wanted.Kind, Name: name, UID: "sample", Controller: new(true)}
	if label := hashLabel(wanted.Kind); label != "" {
		pod.Labels[label] = templateHash
		owner.Kind, owner.Name = "ReplicaSet", name+"-"+templateHash
	}
	pod.OwnerReferences = []metav1.OwnerReference{owner}
	return pod
}

// sampleLabels are the fewest labels that the selector may ask for.
func sampleLabels(selector labels.Selector) map[string]string {
	made := map[string]string{}
	if selector == nil {
		return made
	}
	requirements, _ := selector.Requirements()
	for i := range requirements {
		r := &requirements[i]
		switch r.Operator() {
		case selection.In, selection.Equals, selection.DoubleEquals:
			made[r.Key()] = slices.Min(r.ValuesUnsorted())
		case selection.Exists:
			if _, found := made[r.Key()]; !found {
				made[r.Key()] = "x"
			}
		case selection.NotIn, selection.NotEquals, selection.DoesNotExist:
		case selection.GreaterThan, selection.LessThan: // a LabelSelector has no such operator
		}
	}
	return made
}
