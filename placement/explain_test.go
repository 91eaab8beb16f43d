package placement

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// oneMark are rules that are short enough to read.
func oneMark(t *testing.T) Rules {
	t.Helper()
	rules, err := NewRules(SpotMark{Key: "lifecycle", Values: []string{"spot"}})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// explained is the explanation of a Deployment's pod.
func explained(t *testing.T, template string) Explanation {
	t.Helper()
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: "kube-system"}}
	if err := yaml.UnmarshalStrict([]byte(template), &deployment.Spec.Template); err != nil {
		t.Fatal(err)
	}
	pod, err := PodOf(deployment)
	if err != nil {
		t.Fatal(err)
	}
	policies := compiled(t, placementtest.Policy(t, "dns", `{match: {owners: [{kind: Deployment, name: coredns}]}, mode: Required}`))
	explanation, err := Explain(pod, Namespace{Name: "kube-system"}, policies, oneMark(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return explanation
}

func TestAnExplanationShowsWhatIsAddedAndWhy(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	if err := explained(t, `{spec: {containers: [{name: dns, image: x}]}}`).WriteText(&text); err != nil {
		t.Fatal(err)
	}
	head, diff, _ := strings.Cut(text.String(), "\n\n")
	want := "pod       kube-system/coredns-0000000000-*\ndecision  Required\n" +
		`reason    PolicyRequires: the policy requires a long-lived node; policy "dns"`
	if head != want {
		t.Errorf("it begins\n%s\nwant\n%s", head, want)
	}
	var changed []string
	for line := range strings.Lines(diff) {
		if line[0] == '+' || line[0] == '-' {
			changed = append(changed, strings.TrimRight(line, "\n"))
		}
	}
	if diff := cmp.Diff([]string{
		"--- as created",
		"+++ as placed",
		"+  annotations:",
		`+    ebbtide.dev/placement-decision: '{"policy":"dns","decision":"Required","reason":"PolicyRequires"}'`,
		"+  affinity:",
		"+    nodeAffinity:",
		"+      requiredDuringSchedulingIgnoredDuringExecution:",
		"+        nodeSelectorTerms:",
		"+        - matchExpressions:",
		"+          - key: lifecycle",
		"+            operator: NotIn",
		"+            values:",
		"+            - spot",
	}, changed); diff != "" {
		t.Errorf("changed lines (-want +got):\n%s", diff)
	}
}

func TestAnExplanationSaysWhenNothingChanges(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	explanation := explained(t, `{metadata: {annotations: {ebbtide.dev/placement: any}}, spec: {containers: [{name: dns, image: x}]}}`)
	if err := explanation.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := "pod       kube-system/coredns-0000000000-*\ndecision  Unchanged\n" +
		"reason    OptedOut: the pod's annotation ebbtide.dev/placement says any\n\nThe pod stays as it is.\n"
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestAnExplanationIsForProgramsToo(t *testing.T) {
	t.Parallel()
	explanation := explained(t, `{spec: {nodeSelector: {lifecycle: spot}, containers: [{name: dns, image: x}]}}`)
	var got map[string]any
	if err := json.Unmarshal(placementtest.JSON(t, explanation), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "diff")
	delete(got, "patch")
	if diff := cmp.Diff(map[string]any{
		"pod": "coredns-0000000000-*", "namespace": "kube-system", "decision": "Unchanged", "reason": "Contradiction",
		"policy": "dns", "key": "lifecycle", "actionable": true,
		"message": `the pod asks for spot nodes only; with the policy it could run nowhere (lifecycle); policy "dns"`,
	}, got); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestAnExplanationThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	err := explained(t, `{spec: {containers: [{name: dns, image: x}]}}`).WriteText(fullDisk{})
	if !errors.Is(err, errFull) {
		t.Errorf("error %v, want %v", err, errFull)
	}
}

func TestEveryTemplateGivesThePodThatItsControllerMakes(t *testing.T) {
	t.Parallel()
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}}, Spec: corev1.PodSpec{NodeSelector: map[string]string{"a": "b"}}}
	meta := metav1.ObjectMeta{Name: "web", Namespace: "shop"}
	cronJob := &batchv1.CronJob{ObjectMeta: meta}
	cronJob.Spec.JobTemplate.Spec.Template = template
	for name, c := range map[string]struct {
		object runtime.Object
		owners []workload
		pod    string
	}{
		"a Deployment":  {&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: template}}, []workload{{"ReplicaSet", "web-0000000000"}, {"Deployment", "web"}}, "web-0000000000-"},
		"a ReplicaSet":  {&appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Template: template}}, []workload{{"ReplicaSet", "web"}}, "web-"},
		"a StatefulSet": {&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Template: template}}, []workload{{"StatefulSet", "web"}}, "web-0"},
		"a ReplicationController": {
			&corev1.ReplicationController{ObjectMeta: meta, Spec: corev1.ReplicationControllerSpec{Template: &template}},
			[]workload{{"ReplicationController", "web"}},
			"web-",
		},
		"a DaemonSet": {&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Template: template}}, []workload{{"DaemonSet", "web"}}, "web-"},
		"a Job":       {&batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: template}}, []workload{{"Job", "web"}}, "web-"},
		"a CronJob":   {cronJob, []workload{{"Job", "web-0"}}, "web-0-"},
		"a pod":       {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: template.Labels}, Spec: template.Spec}, nil, "web"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := c.object.DeepCopyObject()
			pod, err := PodOf(c.object)
			if err != nil {
				t.Fatal(err)
			}
			owners, n := workloads(pod)
			if diff := cmp.Diff(c.owners, owners[:n:n], cmp.AllowUnexported(workload{}), equateEmpty); diff != "" {
				t.Errorf("owners (-want +got):\n%s", diff)
			}
			if got := pod.Name + pod.GenerateName; got != c.pod {
				t.Errorf("it is called %q, want %q", got, c.pod)
			}
			if pod.Namespace != "shop" || pod.Labels["app"] != "x" || pod.Spec.NodeSelector["a"] != "b" {
				t.Errorf("namespace %q, labels %v, selector %v: not the template's", pod.Namespace, pod.Labels, pod.Spec.NodeSelector)
			}
			pod.Labels["app"], pod.Spec.NodeSelector["a"] = "changed", "changed"
			if diff := cmp.Diff(before, c.object); diff != "" {
				t.Errorf("the object changed with its pod (-before +after):\n%s", diff)
			}
		})
	}
	for name, object := range map[string]runtime.Object{
		"a Service": &corev1.Service{}, "a ReplicationController without template": &corev1.ReplicationController{},
	} {
		if _, err := PodOf(object); err == nil {
			t.Errorf("%s has a pod", name)
		}
	}
}

func TestAPodThatIsPlacedAlreadyIsSaidToBe(t *testing.T) {
	t.Parallel()
	policies := compiled(t, placementtest.Policy(t, "dns", `{match: {podSelector: {matchLabels: {app: dns}}}, mode: Required}`))
	pod := placementtest.Pod(t, "metadata: {name: dns, labels: {app: dns}}")
	pod = Decide(pod, Namespace{}, policies, oneMark(t), nil).Apply(pod)
	explanation, err := Explain(pod, Namespace{Name: "shop"}, policies, oneMark(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := explanation.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := "pod       shop/dns\nbefore    Required (PolicyRequires), by policy \"dns\"\ndecision  Required\n" +
		"reason    PolicyRequires: the policy requires a long-lived node; policy \"dns\"\n\n" +
		"The pod stays as it is: it has all of this already.\n"
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

// nearMisses are by one, two and three criteria.
func nearMisses(t *testing.T) Policies {
	t.Helper()
	return compiled(t,
		placementtest.Policy(t, "three", `{priority: 9, match: {owners: [{kind: Job}], priorityClassNames: [high], podSelector: {matchLabels: {app: web}}}}`),
		placementtest.Policy(t, "two", `{match: {namespaceSelector: {matchLabels: {team: edge}}, podSelector: {matchLabels: {app: web}}}}`),
		placementtest.Policy(t, "one", `{match: {podSelector: {matchLabels: {app: web}}}}`),
	)
}

func TestAPodThatNoPolicyMatchesIsToldWhatKeepsEachFromIt(t *testing.T) {
	t.Parallel()
	pod := placementtest.Pod(t, "metadata: {name: dns, labels: {app: dns}}")
	explanation, err := Explain(pod, Namespace{Name: "shop"}, nearMisses(t), Rules{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	explanation.Object, explanation.Notes = "Deployment/dns", []string{"the moon is full"}
	var text strings.Builder
	if err := explanation.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := "object    Deployment/dns\npod       shop/dns\ndecision  Unchanged\nreason    NoPolicy: no policy matches the pod\n" +
		"missed by one (podSelector), two (namespaceSelector, podSelector), three (podSelector, owners, priorityClassNames)\n" +
		"note      the moon is full\n\nThe pod stays as it is.\n"
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestAPodThatAPolicyMatchesIsNotBotheredWithTheOthers(t *testing.T) {
	t.Parallel()
	pod := placementtest.Pod(t, "metadata: {name: web, labels: {app: web}}")
	explanation, err := Explain(pod, Namespace{Name: "shop"}, nearMisses(t), Rules{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if explanation.Policy != "one" || explanation.Misses != nil {
		t.Errorf("policy %q, misses %v, want one and none", explanation.Policy, explanation.Misses)
	}
}

// A miss is a second reading of what matches: the two must not part.
func TestAPolicyMissesExactlyThePodsThatItDoesNotMatch(t *testing.T) {
	t.Parallel()
	policies := casePolicies(t)
	for name, c := range merge(mergeCases, matchCases) {
		pod, namespace := placementtest.Pod(t, c.pod), Namespace{Name: "case"}
		if c.namespace != nil {
			namespace = *c.namespace
		}
		var missed, unmatched []string
		for _, miss := range policies.Misses(pod, namespace) {
			missed = append(missed, miss.Policy)
		}
		owners, n := workloads(pod)
		for i := range policies.ordered {
			if p := &policies.ordered[i]; !p.matches(pod, namespace, owners[:n]) {
				unmatched = append(unmatched, p.name)
			}
		}
		slices.Sort(missed)
		slices.Sort(unmatched)
		if diff := cmp.Diff(unmatched, missed, equateEmpty); diff != "" {
			t.Errorf("%s: policies that do not match (-match +miss):\n%s", name, diff)
		}
	}
}

func TestALimitWithoutARequestTakesRoom(t *testing.T) {
	t.Parallel()
	policies := compiled(t, placementtest.Policy(t, "dns", `{match: {podSelector: {matchLabels: {app: dns}}}}`))
	rules := oneMark(t)
	snapshot := NewSnapshot(rules, NodeStates([]*corev1.Node{nodeOf(t, "a", "{}"), nodeOf(t, "b", "{}")}, nil), nil)
	for name, c := range map[string]struct {
		resources string
		want      Reason
	}{
		"a limit that fits":                  {`{limits: {cpu: 1}}`, EnoughLongLivedNodes},
		"a limit that does not":              {`{limits: {cpu: 3}}`, TooFewLongLivedNodes},
		"a limit beside a request that does": {`{limits: {cpu: 3}, requests: {cpu: 1}}`, EnoughLongLivedNodes},
	} {
		for _, containers := range []string{"containers", "initContainers"} {
			pod := placementtest.Pod(t, "metadata: {labels: {app: dns}}\nspec: {"+containers+": [{name: main, image: x, resources: "+c.resources+"}]}")
			before := pod.DeepCopy()
			explanation, err := Explain(pod, Namespace{}, policies, rules, snapshot)
			if err != nil {
				t.Fatal(err)
			}
			if explanation.Reason != c.want {
				t.Errorf("%s, in %s: %s, want %s", name, containers, explanation.Reason, c.want)
			}
			if diff := cmp.Diff(before, pod); diff != "" {
				t.Errorf("%s, in %s: the pod changed (-before +after):\n%s", name, containers, diff)
			}
			if strings.Contains(explanation.Diff, "+        cpu") {
				t.Errorf("%s, in %s: the diff shows a request that nobody wrote", name, containers)
			}
		}
	}
}
