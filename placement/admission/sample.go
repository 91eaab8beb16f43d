package admission

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/placement"
)

// sample is a pod that a trial creates as a dry run.
type sample struct {
	// what says which pod it is, for a message: it follows "a pod".
	what string
	pod  *corev1.Pod
}

// samples are the pods of a trial: one that no policy means, one of each policy, and of
// the first that are required or preferred to run on long-lived nodes one of each shape
// that an author may have given to its affinity.
func (k *Keeper) samples(wanted wish, namespace placement.Namespace) []sample {
	all := []sample{{"without labels", k.complete(&corev1.Pod{})}}
	shaped := map[placement.Outcome]bool{placement.Unchanged: true}
	var shapes []sample
	for _, made := range wanted.rendering.Samples(namespace) {
		what := fmt.Sprintf("that policy %q matches", made.Policy)
		pod := k.complete(made.Pod)
		all = append(all, sample{what, pod})
		outcome := placement.Decide(pod, namespace, wanted.rendering.InForce, wanted.rules, nil).Outcome
		if shaped[outcome] {
			continue
		}
		shaped[outcome] = true
		for _, s := range shapesOf(wanted.rules) {
			shapedPod := pod.DeepCopy()
			s.give(&shapedPod.Spec)
			shapes = append(shapes, sample{what + ", with " + s.name, shapedPod})
		}
	}
	return append(all, shapes...)
}

// sampleName is the name of every sample pod: a dry run takes none from another pod, and
// what is said of a refusal does not change from one time to the next.
const sampleName = "ebbtide-placement-sample"

// complete makes of a sample a pod that the API server takes, also in a namespace whose
// Pod Security Standard is "restricted".
func (k *Keeper) complete(made *corev1.Pod) *corev1.Pod {
	pod := made.DeepCopy()
	pod.Name = sampleName
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	pod.Spec.AutomountServiceAccountToken = new(false)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec.Containers = []corev1.Container{{
		Name: "main", Image: k.options.Image,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}}
	return pod
}

// shape is what an author may have written.
type shape struct {
	name string // it follows "with"
	give func(*corev1.PodSpec)
}

// shapesOf are the shapes that a patch has to tell apart.
func shapesOf(rules placement.Rules) []shape {
	zone := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
		{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}},
	}}
	byName := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
		{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}},
	}}
	own := rules.Requirements()
	return []shape{
		{"an empty affinity", func(s *corev1.PodSpec) { s.Affinity = &corev1.Affinity{} }},
		{"an anti-affinity", func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
				{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}},
			}}}
		}},
		{"a preference", func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: zone}},
			}}
		}},
		{"two terms", terms(zone, byName)},
		{"an empty term", terms(corev1.NodeSelectorTerm{}, zone)},
		{"terms that are all empty", terms(corev1.NodeSelectorTerm{})},
		{"a choice of its own", terms(corev1.NodeSelectorTerm{MatchExpressions: own[:1]})},
		{"a toleration", func(s *corev1.PodSpec) {
			s.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}
		}},
		{"a toleration of everything", func(s *corev1.PodSpec) {
			s.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		}},
	}
}

// terms gives a pod these alternatives.
func terms(alternatives ...corev1.NodeSelectorTerm) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: alternatives},
		}}
	}
}
