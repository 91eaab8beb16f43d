package placementtest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// Read reads YAML into a value, which keeps the fields that text does not name. A field
// that the value does not have is a mistake.
func Read(t testing.TB, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatalf("reading a %T: %v\n%s", into, err, text)
	}
}

// JSON writes a value as the API server would.
func JSON(t testing.TB, value any) []byte {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatalf("writing a %T: %v", value, err)
	}
	return encoded
}

// Pod reads a pod that the API server would take from the YAML of its metadata and
// spec. What it needs and text leaves out is added: a kind, a generateName, a container.
func Pod(t testing.TB, text string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	Read(t, text, pod)
	pod.APIVersion, pod.Kind = "v1", "Pod"
	if pod.Name == "" && pod.GenerateName == "" {
		pod.GenerateName = "case-"
	}
	if len(pod.Spec.Containers) == 0 {
		pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.com/app:1"}}
	}
	return pod
}

// StoredPod reads a pod from any document as the API server would, and returns it with
// the document that the API server would write of it. It returns false for a document
// that is no pod: no webhook is ever asked about it.
func StoredPod(document []byte) (*corev1.Pod, []byte, bool) {
	var pod *corev1.Pod
	// Twice: a value such as a quantity is kept as it was written until it is read again.
	for range 2 {
		pod = &corev1.Pod{}
		err := json.Unmarshal(document, pod)
		if err == nil {
			document, err = json.Marshal(pod)
		}
		if err != nil {
			return nil, nil, false
		}
	}
	return pod, document, true
}

// Policy reads a policy from the YAML of its spec. It has no defaults: those are the
// API server's to add.
func Policy(t testing.TB, name, spec string) v1alpha1.PlacementPolicy {
	t.Helper()
	policy := v1alpha1.PlacementPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	Read(t, spec, &policy.Spec)
	return policy
}

// FiftyPolicies are as many as a large cluster has, with every kind of match. Only the
// one called "last", of the lowest priority and in mode Auto, matches [LargePod].
func FiftyPolicies(t testing.TB) []v1alpha1.PlacementPolicy {
	t.Helper()
	matches := []string{
		"namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: team-%d}}",
		"podSelector: {matchLabels: {app: app-%d}}",
		"owners: [{kind: Deployment, name: 'gateway-%d-*'}, {kind: StatefulSet, name: 'queue-*'}]",
		"priorityClassNames: [class-%d]",
	}
	policies := make([]v1alpha1.PlacementPolicy, 0, 50)
	for i := range 49 {
		match := fmt.Sprintf(matches[i%len(matches)], i)
		policies = append(policies, Policy(t, fmt.Sprintf("policy-%d", i), fmt.Sprintf("{priority: %d, mode: Required, match: {%s}}", i, match)))
	}
	return append(policies, Policy(t, "last", "{priority: -1, match: {owners: [{kind: Deployment, name: ingress-*}]}}"))
}

// LargePod is a pod of about 10 KiB, of a Deployment called ingress-nginx, with two
// node selector terms of its own.
func LargePod(t testing.TB) *corev1.Pod {
	t.Helper()
	pod := Pod(t, `
metadata:
  generateName: ingress-nginx-abc-
  labels: {app: ingress, pod-template-hash: abc, app.kubernetes.io/name: ingress}
  annotations: {example.com/config: x}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: ingress-nginx-abc, uid: u, controller: true}]
spec:
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
    {matchExpressions: [{key: zone, operator: In, values: [a]}]},
    {matchExpressions: [{key: zone, operator: In, values: [b]}]},
  ]}}}
`)
	container := &pod.Spec.Containers[0]
	for i := range 60 {
		container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", i), Value: strings.Repeat("v", 120)})
	}
	if size := len(JSON(t, pod)); size < 9<<10 || size > 12<<10 {
		t.Fatalf("the pod has %d bytes, want about 10 KiB", size)
	}
	return pod
}
