package main

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/placement"
)

const (
	// policyCount is as many policies as a large cluster has.
	policyCount = 50
	// governing is the policy that the pods match: the last one, of lowest priority.
	governing = "last"
	// governed is the label by which it does.
	governed = "ingress"
)

// manyPolicies are the manifests of policies of every kind, all with the mode Required:
// an admission policy can render it, and the webhook does the same with it. Only the
// last one matches the pod of this benchmark.
func manyPolicies() []string {
	manifest := func(name string, priority int, match string) string {
		return fmt.Sprintf(`
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: %s}
spec: {priority: %d, mode: Required, match: {%s}}
`, name, priority, match)
	}
	manifests := make([]string, 0, policyCount)
	for i := range policyCount - 1 {
		match := [...]string{
			"namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: team-%d}}",
			"podSelector: {matchLabels: {app: app-%d}}",
			"owners: [{kind: Deployment, name: 'gateway-%d-*'}, {kind: StatefulSet, name: 'queue-*'}]",
			"priorityClassNames: [class-%d]",
		}[i%4]
		manifests = append(manifests, manifest(fmt.Sprintf("policy-%d", i), i, fmt.Sprintf(match, i)))
	}
	return append(manifests, manifest(governing, -1, "podSelector: {matchLabels: {app: "+governed+"}}"))
}

// newPod is a pod of about 10 KiB, like that of the handler's own benchmark, with an
// affinity of its author's. It has no owner, since a ReplicaSet's controller would
// count its pods and delete them, and a scheduler that does not exist: who binds and
// runs pods would be at work while the next ones are timed.
func newPod() *corev1.Pod {
	zone := func(name string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{name}},
		}}
	}
	environment := make([]corev1.EnvVar, 60)
	for i := range environment {
		environment[i] = corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", i), Value: strings.Repeat("v", 120)}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "ingress-nginx-abc-",
			Labels:       map[string]string{"app": governed, "pod-template-hash": "abc", "app.kubernetes.io/name": "ingress"},
			Annotations:  map[string]string{"example.com/config": "x"},
		},
		Spec: corev1.PodSpec{
			SchedulerName: "nobody",
			Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
					NodeSelectorTerms: []corev1.NodeSelectorTerm{zone("a"), zone("b")},
				},
			}},
			Containers: []corev1.Container{{
				Name: "main", Image: "example.com/app:1", Env: environment,
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("90Mi"),
				}},
			}},
		},
	}
}

// isPlaced says whether a pod may run on long-lived nodes only, in each of the terms
// that its author has written, and says of itself that the governing policy wants it so.
func isPlaced(created, written *corev1.Pod) bool {
	record, has := placement.ReadRecord(created)
	if !has || record.Policy != governing || record.Outcome != placement.PlacedRequired {
		return false
	}
	longLived := placement.Rules{}.Requirements()
	return slices.EqualFunc(termsOf(created), termsOf(written), func(got, before corev1.NodeSelectorTerm) bool {
		return equality.Semantic.DeepEqual(got.MatchExpressions, slices.Concat(before.MatchExpressions, longLived))
	})
}

// isUntouched says whether a pod is as its author has written it.
func isUntouched(created, written *corev1.Pod) bool {
	_, has := placement.ReadRecord(created)
	return !has && equality.Semantic.DeepEqual(created.Spec.Affinity, written.Spec.Affinity)
}

func termsOf(pod *corev1.Pod) []corev1.NodeSelectorTerm {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}
