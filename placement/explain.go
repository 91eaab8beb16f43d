package placement

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	udiff "github.com/aymanbagabas/go-udiff"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Explanation is a decision for people and for programs: as text through
// [Explanation.WriteText], as JSON by encoding/json.
type Explanation struct {
	// Pod is the pod's name, or the beginning of it that its names are made from;
	// Namespace is where it would be created.
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
	Decision
	Message string `json:"message"`
	// Actionable is true when somebody should change something; see
	// [Decision.Actionable].
	Actionable bool `json:"actionable"`
	// Patch is the JSON Patch; null when nothing changes.
	Patch []Operation `json:"patch"`
	// Diff is a unified diff of the pod as YAML, before and after; empty when nothing
	// changes.
	Diff string `json:"diff,omitempty"`
}

// Explain says what a decision does to the pod that it was made for.
func Explain(decision Decision, pod *corev1.Pod, namespace string) (Explanation, error) {
	name := pod.Name
	if name == "" {
		name = pod.GenerateName + "*"
	}
	explanation := Explanation{
		Pod: name, Namespace: namespace, Decision: decision,
		Message: decision.Message(), Actionable: decision.Actionable(), Patch: decision.Patch(),
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

// WriteText writes the decision, the reason and the diff.
func (e Explanation) WriteText(w io.Writer) error {
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "pod       %s/%s\ndecision  %s\nreason    %s: %s\n", e.Namespace, e.Pod, e.Outcome, e.Reason, e.Message)
	if e.Diff == "" {
		text.WriteString("\nThe pod stays as it is.\n")
	} else {
		text.WriteString("\n" + e.Diff)
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("writing the explanation of pod %q: %w", e.Pod, err)
	}
	return nil
}
