package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// Each breaks a rendering in another way. All but the first are stored without a word.
var mistakes = map[string]struct {
	expression string
	says       string
}{
	"an expression that does not compile":         {`[JSONPatch{`, "compilation failed"},
	"an expression that fails when it is asked":   {`object.spec.nodeName == "a" ? [` + anyPatch + `] : []`, "no such key"},
	"a patch after which there is no pod":         {`[JSONPatch{op: "add", path: "/spec/affinity", value: "none"}]`, "cannot unmarshal"},
	"a patch of a field that is not there":        {`[JSONPatch{op: "remove", path: "/spec/affinity"}]`, "JSON Patch"},
	"a patch after which the pod is not valid":    {`[JSONPatch{op: "add", path: "/spec/affinity", value: {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}}]`, "nodeSelectorTerms"},
	"an apply configuration of the tolerations":   {"", "atomic"},
	"a patch that places nothing":                 {`false ? [` + anyPatch + `] : []`, "its decision came to"},
	"a patch that places pods that nobody means":  {`[JSONPatch{op: "add", path: "/spec/tolerations", value: [{"operator": "Exists"}]}]`, "its tolerations came to"},
	"a patch that takes something off its author": {`+ (has(object.spec.affinity) && has(object.spec.affinity.podAntiAffinity) ? [JSONPatch{op: "remove", path: "/spec/affinity"}] : [])`, "with an anti-affinity, as a dry run: its affinity came to"},
	"a patch that also says more than it decides": {`[JSONPatch{op: "add", path: "/metadata/annotations", value: {"` + placement.DecisionAnnotation + `": "{}"}}]`, "its decision came to"},
}

// anyPatch gives a list its type; it is never applied.
const anyPatch = `JSONPatch{op: "test", path: "/kind", value: "Pod"}`

// mistaken renders with that expression; one that begins with a plus comes after the
// right one, and none stands for an apply configuration.
func mistaken(expression string) func(placement.Policies, placement.Rules, placement.RenderOptions) placement.Rendering {
	return func(policies placement.Policies, rules placement.Rules, options placement.RenderOptions) placement.Rendering {
		rendering := placement.Render(policies, rules, options)
		mutation := &rendering.Policy.Spec.Mutations[0]
		if strings.HasPrefix(expression, "+") {
			expression = "(" + mutation.JSONPatch.Expression + ")" + expression
		}
		if expression != "" {
			mutation.JSONPatch.Expression = expression
			return rendering
		}
		mutation.PatchType, mutation.JSONPatch = admissionv1.PatchTypeApplyConfiguration, nil
		mutation.ApplyConfiguration = &admissionv1.ApplyConfiguration{
			Expression: `Object{spec: Object.spec{tolerations: [Object.spec.tolerations{operator: "Exists"}]}}`,
		}
		return rendering
	}
}

func TestABrokenRenderingIsNeverBoundAndTheOldOneStays(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	at := 0
	for name, mistake := range mistakes {
		at++
		scene := "broken-" + string(rune('a'+at))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, l, scene)
			good := s.keeper(t)
			stop := s.run(t, good)
			s.policy(t, good, "dns", requires)
			s.placed(t, "app: dns", placement.PolicyRequires)
			stop()
			before := s.live(t)

			broken := s.keeper(t)
			told := events.NewFakeRecorder(10)
			broken.metrics, broken.render, broken.options.Events = newMetrics(s.registry), mistaken(mistake.expression), told
			stop = s.run(t, broken)
			s.policy(t, broken, "dns", prefers)
			said := s.says(t, "dns", metav1.ConditionFalse, string(TrialFailed))
			if !strings.Contains(said.Message, mistake.says) {
				t.Errorf("it says %q, and nothing of %q", said.Message, mistake.says)
			}
			if err := broken.Ready(); err == nil || err.Error() != said.Message {
				t.Errorf("the keeper is ready: %v", err)
			}
			stop()
			s.noTrial(t)
			if diff := cmp.Diff(before.policy.ResourceVersion, s.live(t).policy.ResourceVersion); diff != "" {
				t.Errorf("the policy in force was written (-before +after):\n%s", diff)
			}
			s.placed(t, "app: dns", placement.PolicyRequires)
			if got := count(t, s.registry, "trials_total", trialFailed); got != 1 {
				t.Errorf("%.0f trials have failed, want 1", got)
			}

			if got := len(told.Events); got != 1 {
				t.Errorf("there are %d Events, want 1", got)
			}

			mended := s.keeper(t)
			s.run(t, mended)
			mended.Want(s.wanted(t))
			s.says(t, "dns", metav1.ConditionTrue, "InForce")
			s.placed(t, "app: dns", placement.PolicyPrefers)
		})
	}
}

// A policy that would stand in the way of every pod stands in the way of none while it
// is on trial.
func TestATrialTouchesNoPodButItsOwn(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	s := newScene(t, l, "narrow")
	k := s.keeper(t)
	s.policy(t, k, "dns", requires)
	k.render = mistaken(mistakes["a patch after which there is no pod"].expression)
	s.raise(t, k)
	with := func(label string) *corev1.Pod {
		pod := k.complete(s.pod(t, "app: dns"))
		pod.Labels[TrialLabel] = label
		return pod
	}
	placementtest.Await(t, "the trial to refuse its own pods", func(ctx context.Context) error {
		if _, err := l.Client().CoreV1().Pods(s.own).Create(ctx, with("token"), dryRun); err == nil {
			return errors.New("they are taken")
		}
		return nil
	})
	for name, c := range map[string]struct {
		namespace string
		pod       *corev1.Pod
	}{
		"a pod beside it":             {s.own, with(outside)},
		"a pod of an earlier trial":   {s.own, with("other")},
		"a pod of the own namespace":  {s.own, k.complete(s.pod(t, "app: dns"))},
		"its own pod somewhere else":  {s.elsewhere, with("token")},
		"a user's pod":                {s.elsewhere, s.pod(t, "app: dns")},
		"a user's pod in kube-system": {metav1.NamespaceSystem, s.pod(t, "app: dns")},
	} {
		if _, err := l.Client().CoreV1().Pods(c.namespace).Create(t.Context(), c.pod, dryRun); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
}

func TestATrialThatIsCutShortIsRemoved(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	s := newScene(t, l, "cut-short")
	k := s.keeper(t)
	k.metrics = newMetrics(s.registry)
	s.policy(t, k, "dns", requires)
	stop := s.run(t, k)
	placementtest.Await(t, "the trial", func(ctx context.Context) error {
		_, err := l.Client().AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Get(ctx, s.name+trialSuffix, metav1.GetOptions{})
		return err
	})
	stop()
	s.noTrial(t)
	if err := k.Ready(); err != nil {
		t.Errorf("a replica that does not lead is not ready: %v", err)
	}
}

func TestWhereNoSamplePodIsTakenNothingIsBound(t *testing.T) {
	t.Parallel()
	s, k := led(t, "no-samples")
	if s == nil {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	if err := s.Apply(t.Context(), s.own, `{apiVersion: v1, kind: ResourceQuota, metadata: {name: none}, spec: {hard: {pods: "0"}}}`); err != nil {
		t.Fatal(err)
	}
	placementtest.Await(t, "the quota", func(ctx context.Context) error {
		_, err := s.Client().CoreV1().Pods(s.own).Create(ctx, k.complete(s.pod(t, "app: dns")), dryRun)
		if err == nil {
			return errors.New("pods are taken")
		}
		return nil
	})
	s.policy(t, k, "dns", requires)
	if said := s.says(t, "dns", metav1.ConditionFalse, string(TrialInconclusive)); !strings.Contains(said.Message, "exceeded quota") {
		t.Errorf("it says %q, and not why", said.Message)
	}
	s.noTrial(t)
	s.placed(t, "app: dns", "")
}

// Of two policies one has a sample pod that the API server cannot take; it is no reason
// to leave either out.
func TestAPolicyThatNoSampleCanBeMadeOfIsInForce(t *testing.T) {
	t.Parallel()
	s, k := led(t, "no-sample")
	if s == nil {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	s.policy(t, k, "missing", "{mode: Required, match: {priorityClassNames: [no-such-class]}}")
	s.policy(t, k, "elsewhere", "{mode: Required, match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "+s.elsewhere+"}}, podSelector: {matchLabels: {app: far}}}}")
	s.says(t, "missing", metav1.ConditionTrue, "InForce")
	s.says(t, "elsewhere", metav1.ConditionTrue, "InForce")
	s.placed(t, "app: far", placement.PolicyRequires)
}

func TestAnAPIServerThatDoesNotActOnTheTrialIsWaitedFor(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	s := newScene(t, l, "not-acting")
	k := s.keeper(t)
	asking := asking{pods: l.Client().CoreV1().Pods(s.own), token: "token"}
	ctx, cancel := context.WithTimeout(t.Context(), 5*askAgain)
	defer cancel()
	err := asking.about(ctx, k.complete(s.pod(t, "app: dns")))
	if !errors.Is(err, errNotActing) || errors.As(err, &wrongError{}) {
		t.Errorf("it ends with %v", err)
	}
}

func TestATrialOfAsManyPoliciesAsAreRenderedEndsInTime(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	s := newScene(t, l, "many")
	k := s.keeper(t)
	k.metrics = newMetrics(s.registry)
	var items []v1alpha1.PlacementPolicy
	for i := range 200 {
		spec := fmt.Sprintf("{mode: Required, match: {podSelector: {matchLabels: {scene: %s, app: app-%d}}}}", s.name, i)
		items = append(items, placementtest.Policy(t, fmt.Sprintf("%s-%d", s.name, i), spec))
	}
	policies, rejections := placement.Compile(items)
	if len(rejections) > 0 {
		t.Fatal(rejections[0].Err)
	}
	k.Want(policies)
	s.run(t, k)
	began := time.Now()
	s.ready(t, k)
	t.Logf("%d policies were in force after %.1f s", policies.Len(), time.Since(began).Seconds())
	if got := count(t, s.registry, "trials_total", trialPassed); got != 1 {
		t.Errorf("%.0f trials were passed, want 1", got)
	}
	s.placed(t, "app: app-199", placement.PolicyRequires)
}
