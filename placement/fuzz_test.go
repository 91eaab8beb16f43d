package placement

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// fuzzSeeds are the pods of every table, and what tables do not hold.
func fuzzSeeds(t testing.TB) [][]byte {
	t.Helper()
	var seeds [][]byte
	for _, c := range allCases() {
		seeds = append(seeds, placementtest.JSON(t, placementtest.Pod(t, c.pod)))
	}
	for _, text := range []string{
		`{}`, `null`, `[]`, `{"metadata":{"labels":{"want":"required"},"annotations":{}}}`,
		`{"metadata":{"labels":{"want":"preferred"},"annotations":{"ebbtide.dev/placement-decision":"\u0000"}}}`,
		`{"metadata":{"labels":{"want":"required"}},"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":null}}}}}`,
		`{"metadata":{"labels":{"want":"required"}},"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{}]},{"matchFields":[{}]},{"matchExpressions":[{"key":"lifecycle","operator":"In"}]}]}}}}}`,
		`{"metadata":{"labels":{"want":"preferred"}},"spec":{"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{}]}},"tolerations":[{}]}}`,
		`{"metadata":{"ownerReferences":[{"kind":"ReplicaSet","name":"-","controller":true}],"labels":{"pod-template-hash":""}}}`,
		`{"metadata":{"ownerReferences":[{"kind":"ReplicaSet","name":"-x","controller":true}],"labels":{"pod-template-hash":"x"}}}`,
	} {
		seeds = append(seeds, []byte(text))
	}
	return seeds
}

// Whatever bytes a pod is read from: a decision is made, its patch applies, it makes
// what Apply makes, and the second decision changes nothing.
func FuzzDecide(f *testing.F) {
	for _, seed := range fuzzSeeds(f) {
		f.Add(seed, "steady", "")
	}
	policies := casePolicies(f)
	f.Fuzz(func(t *testing.T, document []byte, taint, whitelist string) {
		pod, _, is := placementtest.StoredPod(document)
		if !is {
			return
		}
		rules := Rules{}.WithSoftTaints([]corev1.Taint{{Key: "pool", Value: taint, Effect: corev1.TaintEffectPreferNoSchedule}})
		namespace := Namespace{Name: "default", Annotations: map[string]string{tolerationsWhitelist: whitelist}}
		before := pod.DeepCopy()
		decision := Decide(pod, namespace, policies, rules, nil)
		if _, known := explanations[decision.Reason]; !known {
			t.Fatalf("reason %q", decision.Reason)
		}
		after := decision.Apply(pod)
		checkPatch(t, decision, before, after)
		checkSettled(t, after, namespace, policies, rules, decision)
	})
}

// mistakes are what the API server refuses in a pod, here and there near to what a
// placement writes.
var mistakes = []func(*corev1.Pod){
	func(pod *corev1.Pod) { pod.Spec.Containers[0].Name = "Main" },
	func(pod *corev1.Pod) { pod.Labels["a b"] = "c" },
	func(pod *corev1.Pod) { pod.Annotations = map[string]string{"a b": "c"} },
	func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{"disk": "a b"} },
	func(pod *corev1.Pod) { pod.Spec.Tolerations = []corev1.Toleration{{Operator: "Maybe"}} },
	func(pod *corev1.Pod) {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpIn}}}},
		}}}
	},
	func(pod *corev1.Pod) {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 101}},
		}}
	},
}

// A pod that the API server takes it takes when it is placed too, and one that it
// refuses it refuses for the same.
func TestNoPatchIsRefusedByTheAPIServer(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	pods := l.Client().CoreV1().Pods(l.Namespace(t))
	policies, rules := casePolicies(t), caseRules()
	taken, refused := 0, 0
	try := func(pod *corev1.Pod) {
		decision := Decide(pod, Namespace{Name: "default"}, policies, rules, nil)
		if decision.Patch() == nil {
			return
		}
		_, without := pods.Create(t.Context(), pod, dryRun)
		_, with := pods.Create(t.Context(), decision.Apply(pod), dryRun)
		if without == nil {
			taken++
		} else {
			refused++
		}
		if diff := cmp.Diff(causes(without), causes(with)); diff != "" {
			t.Errorf("%s by %s (-as created +as placed):\n%s\npod %s", decision.Outcome, decision.Reason, diff, placementtest.JSON(t, pod))
		}
	}
	for _, seed := range fuzzSeeds(t) {
		pod := &corev1.Pod{}
		if err := json.Unmarshal(seed, pod); err == nil {
			try(pod)
		}
	}
	for seed := range uint64(300) {
		pod := randomPod(newRandom(seed))
		pod.Name, pod.GenerateName = "", "random-"
		pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.com/app:1"}}
		if seed%4 == 0 {
			mistakes[int(seed/4)%len(mistakes)](pod)
		}
		try(pod)
	}
	if taken < 100 || refused < 50 {
		t.Errorf("%d pods were taken and %d refused: too few of either to say anything", taken, refused)
	}
}

// causes are the fields that the API server complains of, and why.
func causes(err error) []string {
	if err == nil {
		return nil
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return []string{err.Error()}
	}
	var found []string
	for _, cause := range status.Status().Details.Causes {
		found = append(found, cause.Field+": "+cause.Message)
	}
	return found
}
