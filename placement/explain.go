package placement

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	udiff "github.com/aymanbagabas/go-udiff"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// Explanation is a decision for people and for programs: as text through
// [Explanation.WriteText], as JSON by encoding/json.
type Explanation struct {
	// Object is what was asked about, as kind/name. It is empty when that is the pod
	// itself; [Explain] leaves it empty.
	Object string `json:"object,omitempty"`
	// Pod is the pod's name, or the beginning of it that its names are made from;
	// Namespace is where it would be created.
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
	Decision
	Message string `json:"message"`
	// Actionable is true when somebody should change something; see
	// [Decision.Actionable].
	Actionable bool `json:"actionable"`
	// Before is what an earlier decision recorded on the pod; nil when none did.
	Before *Record `json:"before,omitempty"`
	// Misses are the policies that do not match, the nearest first. They are listed when
	// none does, and only then.
	Misses []Miss `json:"misses,omitempty"`
	// Notes say what else there is to know of the answer, a sentence without a full stop
	// each; [Explain] leaves them empty.
	Notes []string `json:"notes,omitempty"`
	// Patch is the JSON Patch; null when nothing changes.
	Patch []Operation `json:"patch"`
	// Diff is a unified diff of the pod as YAML, before and after; empty when nothing
	// changes.
	Diff string `json:"diff,omitempty"`
}

// Explain decides about a pod as [Decide] does, and says what that does to it. What is
// limited and not requested counts as requested, as it will once the API server has
// taken the pod.
func Explain(pod *corev1.Pod, namespace Namespace, policies Policies, rules Rules, capacity Capacity) (Explanation, error) {
	decision := Decide(withRequests(pod), namespace, policies, rules, capacity)
	explanation := Explanation{
		Pod: cmp.Or(pod.Name, pod.GenerateName+"*"), Namespace: namespace.Name, Decision: decision,
		Message: decision.Message(), Actionable: decision.Actionable(), Patch: decision.Patch(),
	}
	if record, found := ReadRecord(pod); found {
		explanation.Before = &record
	}
	if decision.Reason == NoPolicy {
		explanation.Misses = policies.Misses(pod, namespace)
	}
	if explanation.Patch == nil {
		return explanation, nil
	}
	before, err := manifest(pod)
	if err != nil {
		return Explanation{}, err
	}
	after, err := manifest(decision.Apply(pod))
	if err != nil {
		return Explanation{}, err
	}
	explanation.Diff = udiff.Unified("as created", "as placed", before, after)
	return explanation, nil
}

// withRequests returns the pod, or a copy with the requests that the API server adds
// before it calls any webhook.
func withRequests(pod *corev1.Pod) *corev1.Pod {
	limited := func(c corev1.Container) bool { return len(c.Resources.Limits) > 0 }
	if !slices.ContainsFunc(pod.Spec.Containers, limited) && !slices.ContainsFunc(pod.Spec.InitContainers, limited) {
		return pod
	}
	pod = pod.DeepCopy()
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			requested := maps.Clone(containers[i].Resources.Limits)
			if requested == nil {
				continue
			}
			maps.Copy(requested, containers[i].Resources.Requests)
			containers[i].Resources.Requests = requested
		}
	}
	return pod
}

// Miss is a policy that does not match a pod, and the criteria of its match that the
// pod does not meet, by the names of their fields. There is at least one.
type Miss struct {
	Policy string   `json:"policy"`
	Unmet  []string `json:"unmet"`
}

// Misses lists the policies that do not match the pod: the nearest first, by the
// number of criteria, equal ones in the order in which they win.
func (p Policies) Misses(pod *corev1.Pod, namespace Namespace) []Miss {
	owners, n := workloads(pod)
	var misses []Miss
	for i := range p.ordered {
		if unmet := p.ordered[i].unmet(pod, namespace, owners[:n]); len(unmet) > 0 {
			misses = append(misses, Miss{Policy: p.ordered[i].name, Unmet: unmet})
		}
	}
	slices.SortStableFunc(misses, func(a, b Miss) int { return cmp.Compare(len(a.Unmet), len(b.Unmet)) })
	return misses
}

// unmet names the criteria that keep [policy.matches] from being true. That one is in
// the path of every pod and stops at the first, so each is asked of it alone.
func (p *policy) unmet(pod *corev1.Pod, namespace Namespace, owners []workload) []string {
	var unmet []string
	for _, criterion := range []struct {
		field string
		alone policy
	}{
		{"namespaceSelector", policy{match: &v1alpha1.Match{}, namespaces: p.namespaces}},
		{"podSelector", policy{match: &v1alpha1.Match{}, pods: p.pods}},
		{"owners", policy{match: &v1alpha1.Match{Owners: p.match.Owners}}},
		{"priorityClassNames", policy{match: &v1alpha1.Match{PriorityClassNames: p.match.PriorityClassNames}}},
	} {
		if !criterion.alone.matches(pod, namespace, owners) {
			unmet = append(unmet, criterion.field)
		}
	}
	return unmet
}

// manifest is the pod as people write it: as YAML, without what the server adds.
func manifest(pod *corev1.Pod) (string, error) {
	encoded, err := json.Marshal(pod)
	if err != nil {
		return "", fmt.Errorf("encoding pod %q: %w", pod.Name, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return "", fmt.Errorf("encoding pod %q: %w", pod.Name, err)
	}
	delete(fields, "status")
	if metadata, ok := fields["metadata"].(map[string]any); ok {
		delete(metadata, "managedFields")
		delete(metadata, "creationTimestamp")
	}
	text, err := yaml.Marshal(fields)
	if err != nil {
		return "", fmt.Errorf("encoding pod %q: %w", pod.Name, err)
	}
	return string(text), nil
}

func by(policy string) string {
	if policy == "" {
		return ""
	}
	return fmt.Sprintf(", by policy %q", policy)
}

func missed(misses []Miss) string {
	texts := make([]string, 0, len(misses))
	for _, miss := range misses {
		texts = append(texts, miss.Policy+" ("+strings.Join(miss.Unmet, ", ")+")")
	}
	return strings.Join(texts, ", ")
}

// WriteText writes the decision, the reason and the diff.
func (e Explanation) WriteText(w io.Writer) error {
	var text strings.Builder
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(&text, "%-10s"+format+"\n", append([]any{name}, args...)...)
	}
	if e.Object != "" {
		line("object", "%s", e.Object)
	}
	line("pod", "%s/%s", e.Namespace, e.Pod)
	if e.Before != nil {
		line("before", "%s (%s)%s", e.Before.Outcome, e.Before.Reason, by(e.Before.Policy))
	}
	line("decision", "%s", e.Outcome)
	line("reason", "%s: %s", e.Reason, e.Message)
	if len(e.Misses) > 0 {
		line("missed by", "%s", missed(e.Misses))
	}
	for _, note := range e.Notes {
		line("note", "%s", note)
	}
	switch {
	case e.Diff != "":
		text.WriteString("\n" + e.Diff)
	case e.Outcome != Unchanged:
		text.WriteString("\nThe pod stays as it is: it has all of this already.\n")
	default:
		text.WriteString("\nThe pod stays as it is.\n")
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("writing the explanation of pod %q: %w", e.Pod, err)
	}
	return nil
}
