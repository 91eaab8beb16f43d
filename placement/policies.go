package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// Namespace is what a decision needs of a pod's namespace.
type Namespace struct {
	Name   string
	Labels map[string]string
	// Annotations are read for the whitelist of PodTolerationRestriction only; nil is
	// no whitelist.
	Annotations map[string]string
}

// Policies are policies made ready for decisions, in the order in which they win:
// the highest priority first, equal ones by name. They are immutable and safe for
// concurrent use; the zero value holds none.
type Policies struct{ ordered []policy }

// Rejection is a policy that cannot be understood, and so places no pod. The CRD's
// validation refuses such policies; this is for what it cannot check, and for
// policies that never saw an API server.
type Rejection struct {
	// Policy is the policy's name.
	Policy string
	Err    error
}

// policy is one PlacementPolicy, compiled.
type policy struct {
	name        string
	generation  int64
	match       *v1alpha1.Match // as it was written, to render it
	mode        v1alpha1.Mode
	autoscaled  bool
	tolerations []corev1.Toleration
	// namespaces and pods are nil where every one is meant.
	namespaces labels.Selector
	pods       labels.Selector
}

// Compile makes policies ready. What it cannot understand it leaves out and returns
// beside; the others hold regardless.
func Compile(items []v1alpha1.PlacementPolicy) (Policies, []Rejection) {
	var (
		ordered    []policy
		rejections []Rejection
		priorities = make(map[string]int32, len(items))
	)
	for i := range items {
		compiled, err := compile(&items[i])
		if err != nil {
			rejections = append(rejections, Rejection{Policy: items[i].Name, Err: err})
			continue
		}
		ordered = append(ordered, compiled)
		priorities[compiled.name] = items[i].Spec.Priority
	}
	slices.SortStableFunc(ordered, func(a, b policy) int {
		return cmp.Or(cmp.Compare(priorities[b.name], priorities[a.name]), cmp.Compare(a.name, b.name))
	})
	return Policies{ordered: ordered}, rejections
}

func compile(item *v1alpha1.PlacementPolicy) (policy, error) {
	// It becomes part of JSON and of CEL.
	if problems := validation.IsDNS1123Subdomain(item.Name); len(problems) > 0 {
		return policy{}, fmt.Errorf("reading policy %q: name: %s", item.Name, strings.Join(problems, "; "))
	}
	spec := item.Spec.DeepCopy()
	match := &spec.Match
	if matchesAnything(match) {
		return policy{}, fmt.Errorf("reading policy %q: match is empty and would take every pod of the cluster", item.Name)
	}
	namespaces, err := selector(match.NamespaceSelector)
	if err != nil {
		return policy{}, fmt.Errorf("reading the namespaceSelector of policy %q: %w", item.Name, err)
	}
	pods, err := selector(match.PodSelector)
	if err != nil {
		return policy{}, fmt.Errorf("reading the podSelector of policy %q: %w", item.Name, err)
	}
	compiled := policy{
		name: item.Name, generation: item.Generation, match: match, mode: cmp.Or(spec.Mode, v1alpha1.Auto),
		autoscaled: spec.LongLivedPool == v1alpha1.Autoscaled, namespaces: namespaces, pods: pods,
	}
	switch compiled.mode {
	case v1alpha1.Required, v1alpha1.Preferred, v1alpha1.Auto:
	default:
		return policy{}, fmt.Errorf("reading policy %q: mode %q is neither Required, Preferred nor Auto", item.Name, spec.Mode)
	}
	for _, t := range spec.Tolerations {
		if t.Key == "" {
			return policy{}, fmt.Errorf("reading policy %q: a toleration without a key tolerates every taint", item.Name)
		}
		compiled.tolerations = append(compiled.tolerations, toleration(t))
	}
	return compiled, nil
}

func toleration(t v1alpha1.Toleration) corev1.Toleration {
	if t.Value == nil {
		return corev1.Toleration{Key: t.Key, Operator: corev1.TolerationOpExists, Effect: t.Effect}
	}
	return corev1.Toleration{Key: t.Key, Operator: corev1.TolerationOpEqual, Value: *t.Value, Effect: t.Effect}
}

func matchesAnything(match *v1alpha1.Match) bool {
	return emptySelector(match.NamespaceSelector) && emptySelector(match.PodSelector) &&
		len(match.Owners) == 0 && len(match.PriorityClassNames) == 0
}

func emptySelector(s *metav1.LabelSelector) bool {
	return s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0
}

// selector returns nil for a selector that selects everything.
func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if emptySelector(s) {
		return nil, nil //nolint:nilnil // nil is the selector that selects everything; see policy
	}
	return metav1.LabelSelectorAsSelector(s)
}

// Len is the number of policies in force.
func (p Policies) Len() int { return len(p.ordered) }

// Names lists the policies in the order in which they win.
func (p Policies) Names() []string {
	names := make([]string, 0, len(p.ordered))
	for i := range p.ordered {
		names = append(names, p.ordered[i].name)
	}
	return names
}

// Generation is the generation of the policy of that name, and false when there is none.
func (p Policies) Generation(name string) (int64, bool) {
	for i := range p.ordered {
		if p.ordered[i].name == name {
			return p.ordered[i].generation, true
		}
	}
	return 0, false
}

// Governing lists the policies that match the pod, the one that governs it first. It
// is empty for pods that no policy may place, wherever they run: those of DaemonSets,
// mirror pods, and those whose author opted out.
func (p Policies) Governing(pod *corev1.Pod, namespace Namespace) []string {
	if belongsToNode(pod) != "" || pod.Annotations[OverrideAnnotation] == OverrideAny {
		return nil
	}
	governing, others := p.match(pod, namespace)
	if governing == nil {
		return nil
	}
	return append([]string{governing.name}, others...)
}

// match finds the policy that governs the pod, nil if there is none, and the names
// of the others that match it too.
func (p Policies) match(pod *corev1.Pod, namespace Namespace) (governing *policy, others []string) {
	owners, n := workloads(pod)
	for i := range p.ordered {
		candidate := &p.ordered[i]
		switch {
		case !candidate.matches(pod, namespace, owners[:n]):
		case governing == nil:
			governing = candidate
		default:
			others = append(others, candidate.name)
		}
	}
	return governing, others
}

func (p *policy) matches(pod *corev1.Pod, namespace Namespace, owners []workload) bool {
	if p.namespaces != nil && !p.namespaces.Matches(labels.Set(namespace.Labels)) {
		return false
	}
	if p.pods != nil && !p.pods.Matches(labels.Set(pod.Labels)) {
		return false
	}
	if classes := p.match.PriorityClassNames; len(classes) > 0 && !slices.Contains(classes, pod.Spec.PriorityClassName) {
		return false
	}
	return len(p.match.Owners) == 0 || slices.ContainsFunc(p.match.Owners, func(wanted v1alpha1.Owner) bool {
		return slices.ContainsFunc(owners, func(w workload) bool { return w.kind == wanted.Kind && glob(wanted.Name, w.name) })
	})
}
