package placement

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// dryRun asks the API server what it would store.
var dryRun = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}

// servesAdmissionPolicies says whether the lab's Kubernetes has MutatingAdmissionPolicy
// v1, and fails the test when one that should has not.
func servesAdmissionPolicies(t *testing.T, l *lab.Lab) bool {
	t.Helper()
	_, err := l.Client().AdmissionregistrationV1().MutatingAdmissionPolicies().List(t.Context(), metav1.ListOptions{})
	if err == nil {
		return true
	}
	if !apierrors.IsNotFound(err) || version.MustParseGeneric(l.Version()).AtLeast(version.MustParseGeneric("1.36.0")) {
		t.Fatalf("Kubernetes %s lists MutatingAdmissionPolicies: %v", l.Version(), err)
	}
	return false
}

// enforce applies a policy and its binding for the time of the test, and waits until
// it acts on the probe: a pod that it gives the annotation.
func enforce(t *testing.T, client kubernetes.Interface, policy *admissionv1.MutatingAdmissionPolicy, binding *admissionv1.MutatingAdmissionPolicyBinding, probe *corev1.Pod, annotation string) {
	t.Helper()
	policies := client.AdmissionregistrationV1().MutatingAdmissionPolicies()
	stored, err := policies.Create(t.Context(), policy, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatalf("creating policy %q: %v", policy.Name, err)
	}
	if diff := cmp.Diff(policy.Spec, stored.Spec); diff != "" {
		t.Errorf("the API server defaults what we left open (-written +stored):\n%s", diff)
	}
	bindings := client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
	if _, err := bindings.Create(t.Context(), binding, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
		t.Fatalf("creating binding %q: %v", binding.Name, err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := bindings.Delete(ctx, binding.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := policies.Delete(ctx, policy.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	placementtest.Await(t, fmt.Sprintf("policy %q to act", policy.Name), func(ctx context.Context) error {
		pod, err := client.CoreV1().Pods(probe.Namespace).Create(ctx, probe, dryRun)
		if err == nil && pod.Annotations[annotation] == "" {
			return fmt.Errorf("a pod gets the annotations %q", pod.Annotations)
		}
		return err
	})
}

// labNamespace makes a namespace with these labels and annotations.
func labNamespace(t *testing.T, l *lab.Lab, like Namespace) Namespace {
	t.Helper()
	name := l.Namespace(t)
	namespace, err := l.Client().CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range like.Labels {
		metav1.SetMetaDataLabel(&namespace.ObjectMeta, key, value)
	}
	for key, value := range like.Annotations {
		metav1.SetMetaDataAnnotation(&namespace.ObjectMeta, key, value)
	}
	if namespace, err = l.Client().CoreV1().Namespaces().Update(t.Context(), namespace, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return Namespace{Name: name, Labels: namespace.Labels, Annotations: namespace.Annotations}
}

// ignoreIdentity leaves out what the API server makes anew for each pod.
var ignoreIdentity = cmp.Options{
	cmpopts.IgnoreFields(metav1.ObjectMeta{}, "Name", "Namespace", "UID", "CreationTimestamp", "ManagedFields"),
	// The service account's token volume has a name of its own in each pod.
	cmpopts.IgnoreFields(corev1.PodSpec{}, "Volumes"),
	cmpopts.IgnoreFields(corev1.Container{}, "VolumeMounts"),
	cmpopts.EquateEmpty(),
}

const testLabel = "placement-test"

// What the API server makes of a pod by the rendered policy is what Decide makes of
// it, in every case that both can see.
func TestTheRenderedPolicyComesToTheSamePodsAsDecide(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return // nothing would apply what is rendered
	}
	client, rules := l.Client(), caseRules()
	untouched := labNamespace(t, l, Namespace{Labels: map[string]string{testLabel: "render"}})
	rendering := Render(casePolicies(t), rules, RenderOptions{Name: "render-test", OwnNamespace: untouched.Name})
	if len(rendering.Refused) > 0 {
		t.Fatalf("refused: %v", rendering.Refused)
	}
	// The lab is shared: other tests' namespaces are none of ours.
	rendering.Policy.Spec.MatchConstraints.NamespaceSelector.MatchLabels = map[string]string{testLabel: "render"}

	cases := merge(mergeCases, matchCases)
	plain := labNamespace(t, l, Namespace{Labels: map[string]string{testLabel: "render"}})
	probe := placementtest.Pod(t, required)
	probe.Namespace = plain.Name
	enforce(t, client, rendering.Policy, rendering.Binding, probe, DecisionAnnotation)

	act := acting{client: client, rules: rules, rendering: rendering, untouched: untouched.Name}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := plain
			if c.namespace != nil {
				namespace = labNamespace(t, l, Namespace{
					Labels: merged(c.namespace.Labels, map[string]string{testLabel: "render"}), Annotations: c.namespace.Annotations,
				})
			}
			if !act.same(t, placementtest.Pod(t, c.pod), namespace) {
				t.Error("the API server refuses the pod of the case")
			}
		})
	}
	t.Run("random pods", func(t *testing.T) {
		t.Parallel()
		taken := 0
		for seed := range uint64(300) {
			pod := randomPod(newRandom(seed))
			pod.Name, pod.GenerateName = "", "random-"
			pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.com/app:1"}}
			if act.same(t, pod, plain) {
				taken++
			}
		}
		if taken < 100 {
			t.Errorf("the API server took %d pods only", taken)
		}
	})
}

// acting is an API server on which a rendering is in force.
type acting struct {
	client    kubernetes.Interface
	rules     Rules
	rendering Rendering
	untouched string // a namespace in which it is not
}

// same holds what the API server makes of the pod to what Decide makes of it, and of
// its own work to change nothing. It returns false when the API server refuses the pod.
func (a acting) same(t *testing.T, pod *corev1.Pod, namespace Namespace) bool {
	t.Helper()
	bare, err := a.client.CoreV1().Pods(a.untouched).Create(t.Context(), pod, dryRun)
	if err != nil {
		return false
	}
	if _, found := ReadRecord(bare); found {
		t.Error("the policy acts in its own namespace")
	}
	want := Decide(bare, namespace, a.rendering.InForce, a.rules, nil).Apply(bare)
	for _, turn := range []string{"makes another pod", "changes it again"} {
		got, err := a.client.CoreV1().Pods(namespace.Name).Create(t.Context(), pod, dryRun)
		if err != nil {
			t.Errorf("creating the pod where the policy acts: %v", err)
			return true
		}
		if diff := cmp.Diff(want, got, ignoreIdentity); diff != "" {
			t.Errorf("the API server %s (-Decide +API server):\n%s\npod %s", turn, diff, placementtest.JSON(t, pod))
		}
		pod = got
		pod.Name, pod.Namespace, pod.UID, pod.ResourceVersion = "", "", "", ""
	}
	return true
}

// As many policies as are rendered at all, and the last of them still acts; and none.
func TestTheLargestAndTheSmallestRenderingAreTaken(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return // nothing would apply what is rendered
	}
	client := l.Client()
	none := Render(Policies{}, Rules{}, RenderOptions{Name: "smallest-test"})
	if _, err := client.AdmissionregistrationV1().MutatingAdmissionPolicies().Create(t.Context(), none.Policy, dryRun); err != nil {
		t.Errorf("creating a policy of no policies: %v", err)
	}
	items := many(t, maxRendered-1, v1alpha1.Required)
	for i := range items { // as long as all of them together may be
		items[i].Spec.Match = lengthy(t, "x", 2<<10).Spec.Match
	}
	last := placementtest.Policy(t, "zz-last", "{mode: Required, match: {podSelector: {matchLabels: {want: last}}}}")
	rendering := Render(compiled(t, append(items, last)...), caseRules(), RenderOptions{Name: "largest-test"})
	if len(rendering.Refused) > 0 {
		t.Fatalf("refused: %v", rendering.Refused)
	}
	namespace := labNamespace(t, l, Namespace{Labels: map[string]string{testLabel: "largest"}})
	rendering.Policy.Spec.MatchConstraints.NamespaceSelector.MatchLabels = map[string]string{testLabel: "largest"}
	probe := placementtest.Pod(t, "metadata: {labels: {want: last, app: other}}")
	probe.Namespace = namespace.Name
	enforce(t, client, rendering.Policy, rendering.Binding, probe, DecisionAnnotation)
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(b)
	maps.Copy(all, a)
	return all
}

// asking makes a policy that marks the pods that an entry of the webhook would be asked
// about. The API server evaluates both with the same code.
func asking(entry admissionv1.MutatingWebhook, name string) (*admissionv1.MutatingAdmissionPolicy, *admissionv1.MutatingAdmissionPolicyBinding) {
	rendering := Render(Policies{}, Rules{}, RenderOptions{Name: name})
	spec := &rendering.Policy.Spec
	spec.MatchConditions, spec.Variables = entry.MatchConditions, nil
	spec.MatchConstraints.NamespaceSelector = entry.NamespaceSelector
	spec.MatchConstraints.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{testLabel: "entries"}}
	spec.Mutations[0].JSONPatch.Expression = `[JSONPatch{op: "add", path: "/metadata/annotations", value: {"asked": "` + name + `"}}]`
	return rendering.Policy, rendering.Binding
}

func TestTheEntriesAskAboutEveryPodThatIsPlacedAndNoOther(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	client, policies := l.Client(), casePolicies(t)
	own := l.Namespace(t)
	url := "https://placement.example.com/pods"
	entries := WebhookEntries(policies, EntryOptions{OwnNamespace: own, Client: admissionv1.WebhookClientConfig{URL: &url}})
	checkEntriesAreStored(t, client, entries)
	if !servesAdmissionPolicies(t, l) {
		return // the configuration was accepted; what it selects is tested on newer servers
	}
	elsewhere := labNamespace(t, l, Namespace{})
	probe := placementtest.Pod(t, "metadata: {labels: {want: required, "+testLabel+": entries}}")
	for name, namespace := range map[string]string{"general": elsewhere.Name, "system": metav1.NamespaceSystem} {
		entry := entries[0]
		if name == "system" {
			entry = entries[1]
		}
		policy, binding := asking(entry, "entries-test-"+name)
		probe.Namespace = namespace
		enforce(t, client, policy, binding, probe, "asked")
	}
	for name, c := range merge(mergeCases, matchCases) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := placementtest.Pod(t, c.pod)
			metav1.SetMetaDataLabel(&pod.ObjectMeta, testLabel, "entries")
			// Of kube-system the condition knows the name; every other label is taken to match.
			system := Namespace{Name: metav1.NamespaceSystem, Labels: map[string]string{"team": "edge"}}
			for _, namespace := range []Namespace{elsewhere, system, {Name: own}} {
				created, err := client.CoreV1().Pods(namespace.Name).Create(t.Context(), pod, dryRun)
				if err != nil {
					t.Fatal(err)
				}
				want := wantAsked(Decide(pod, namespace, policies, Rules{}, nil), namespace, own)
				if got := created.Annotations["asked"]; got != want {
					t.Errorf("in %s the webhook is asked by %q, want %q", namespace.Name, got, want)
				}
			}
		})
	}
}

func merge(tables ...map[string]placementCase) map[string]placementCase {
	all := map[string]placementCase{}
	for _, table := range tables {
		maps.Copy(all, table)
	}
	return all
}

func wantAsked(decision Decision, namespace Namespace, own string) string {
	switch {
	case slices.Contains([]Reason{BoundPod, MirrorPod, DaemonSetPod, OptedOut}, decision.Reason):
		return ""
	case namespace.Name == own, namespace.Name == metav1.NamespaceSystem && decision.Reason == NoPolicy:
		return ""
	case namespace.Name == metav1.NamespaceSystem:
		return "entries-test-system"
	}
	return "entries-test-general"
}

// checkEntriesAreStored says that the API server takes the entries, and changes nothing
// about them.
func checkEntriesAreStored(t *testing.T, client kubernetes.Interface, entries []admissionv1.MutatingWebhook) {
	t.Helper()
	configuration := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "entries-test"}, Webhooks: entries}
	stored, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), configuration, dryRun)
	if err != nil {
		t.Fatalf("creating the configuration: %v", err)
	}
	if diff := cmp.Diff(entries, stored.Webhooks); diff != "" {
		t.Errorf("the API server defaults what we left open (-written +stored):\n%s", diff)
	}
}

func TestTheCRDRefusesWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	placementtest.InstallCRD(t, l)
	for name, c := range map[string]struct{ spec, want string }{
		"a complete policy":            {`{priority: 5, mode: Required, longLivedPool: Autoscaled, rescue: true, match: {namespaceSelector: {matchLabels: {a: b}}, podSelector: {matchExpressions: [{key: a, operator: In, values: [b]}, {key: c, operator: Exists}]}, owners: [{kind: Deployment, name: "core*"}, {kind: StatefulSet}], priorityClassNames: [system-cluster-critical]}, tolerations: [{key: dedicated}, {key: example.com/pool, value: steady, effect: NoSchedule}]}`, ""},
		"no match":                     {`{mode: Required}`, "spec.match: Required value"},
		"an empty match":               {`{match: {}}`, "match is empty"},
		"selectors that select all":    {`{match: {namespaceSelector: {}, podSelector: {matchLabels: {}}}}`, "match is empty"},
		"no owners":                    {`{match: {owners: []}}`, "should have at least 1 items"},
		"an unknown mode":              {`{mode: Often, match: {podSelector: {matchLabels: {a: b}}}}`, `Unsupported value: "Often"`},
		"an unknown pool":              {`{longLivedPool: Deep, match: {podSelector: {matchLabels: {a: b}}}}`, `Unsupported value: "Deep"`},
		"a selector without values":    {`{match: {podSelector: {matchExpressions: [{key: a, operator: In}]}}}`, "In or NotIn with values"},
		"a selector with values":       {`{match: {namespaceSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}}`, "Exists or DoesNotExist without"},
		"an operator of node affinity": {`{match: {podSelector: {matchExpressions: [{key: a, operator: Gt, values: ["1"]}]}}}`, "Exists or DoesNotExist without"},
		"a DaemonSet":                  {`{match: {owners: [{kind: DaemonSet, name: x}]}}`, "belong to their nodes"},
		"a CronJob":                    {`{match: {owners: [{kind: CronJob, name: x}]}}`, "use kind Job"},
		"a kind in lower case":         {`{match: {owners: [{kind: deployment}]}}`, "should match"},
		"a name that nothing has":      {`{match: {owners: [{kind: Job, name: "Back[up]"}]}}`, "should match"},
		"a toleration of everything":   {`{match: {priorityClassNames: [a]}, tolerations: [{}]}`, "key: Required value"},
		"a toleration's broken key":    {`{match: {priorityClassNames: [a]}, tolerations: [{key: "a..b/c"}]}`, "what stands before the slash"},
		"a toleration's broken value":  {`{match: {priorityClassNames: [a]}, tolerations: [{key: a, value: "b c"}]}`, "should match"},
		"an unknown effect":            {`{match: {priorityClassNames: [a]}, tolerations: [{key: a, effect: Never}]}`, `Unsupported value: "Never"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policyName := "crd-test-" + strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' {
					return r
				}
				return '-'
			}, strings.ToLower(name))
			manifest := "{apiVersion: placement.ebbtide.dev/v1alpha1, kind: PlacementPolicy, metadata: {name: " + policyName + "}, spec: " + c.spec + "}"
			err := l.Apply(t.Context(), "", manifest)
			switch {
			case err == nil:
				t.Cleanup(func() { deletePolicy(t, l, policyName) })
				if c.want != "" {
					t.Errorf("accepted, want an error with %q", c.want)
				}
			case c.want == "" || !strings.Contains(err.Error(), c.want):
				t.Errorf("refused with\n%v\nwant %q", err, c.want)
			}
		})
	}
}

func deletePolicy(t *testing.T, l *lab.Lab, name string) {
	t.Helper()
	path := "/apis/placement.ebbtide.dev/v1alpha1/placementpolicies/" + name
	if err := l.Client().Discovery().RESTClient().Delete().AbsPath(path).Do(context.WithoutCancel(t.Context())).Error(); err != nil {
		t.Error(err)
	}
}
