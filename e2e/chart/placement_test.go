package chart

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/placementrun"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/crd"
)

// The chart writes to placement's own pods what placement writes to the pods of others.
func TestPlacementsPodsAreSentToTheNodesThatTheProgramCallsLongLived(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		builtIn bool
		labels  []string
		marks   []placement.SpotMark
	}{
		"by the labels that it knows": {builtIn: true, labels: []string{}},
		"by the user's labels only":   {labels: []string{"pool=cheap"}, marks: []placement.SpotMark{{Key: "pool", Values: []string{"cheap"}}}},
		"by both, where they meet": {
			builtIn: true, labels: []string{"lifecycle=tidal", "karpenter.sh/capacity-type", "pool=", "pool=cheap"},
			marks: []placement.SpotMark{
				{Key: "lifecycle", Values: []string{"tidal"}},
				{Key: "karpenter.sh/capacity-type"},
				{Key: "pool", Values: []string{""}},
				{Key: "pool", Values: []string{"cheap"}},
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			marks := c.marks
			if c.builtIn {
				marks = append(placement.BuiltInMarks(), marks...)
			}
			rules, err := placement.NewRules(marks...)
			must(t, err)
			lifecycle := map[string]any{"builtIn": c.builtIn, "spotLabels": c.labels}
			objects := rendered(t, Options{Values: placementValues(map[string]any{"lifecycle": lifecycle})})
			deployment := object[appsv1.Deployment](t, objects, "Deployment", "ebbtide-placement")
			want := []corev1.NodeSelectorTerm{{MatchExpressions: rules.Requirements()}}
			got := deployment.Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("terms (-program +chart):\n%s", diff)
			}
		})
	}
}

func placementValues(config map[string]any) map[string]any {
	return map[string]any{"placement": map[string]any{"config": config}}
}

// A pod of DNS that was there before placement is brought to a long-lived node, and one
// that comes later is created for one: watches, certificate, registration, lease, status,
// Events, hand-over and eviction.
func TestPlacementIsRefusedNothingWithTheRightsOfTheChart(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	p := newPlacement(t, l, "Webhook")
	p.outdateCRD(t)
	l.Node(t, lab.NodeSpec{Name: "spot-1", Labels: map[string]string{"karpenter.sh/capacity-type": "spot"}})
	must(t, l.Apply(t.Context(), metav1.NamespaceSystem, dns))
	must(t, l.WaitPods(within(t, time.Minute), metav1.NamespaceSystem, "k8s-app=kube-dns", lab.AllReady(1)))
	for _, name := range []string{"steady-1", "steady-2"} {
		l.Node(t, lab.NodeSpec{Name: name})
	}
	p.start(t)
	p.installed.Front.HandTo(p.replica.Reviews())

	await(t, "DNS to run on a long-lived node", 2*time.Minute, func(ctx context.Context) bool {
		pods, err := l.Client().CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
		return err == nil && len(pods.Items) == 1 && strings.HasPrefix(pods.Items[0].Spec.NodeName, "steady-")
	})
	await(t, "the policy to say so", time.Minute, func(ctx context.Context) bool {
		return meta.IsStatusConditionTrue(p.policy(ctx, "dns").Status.Conditions, v1alpha1.ConditionSafe)
	})
	await(t, "the CRD to be brought up to date", time.Minute, func(ctx context.Context) bool {
		revision, err := crd.RevisionOf(p.crd(ctx))
		return err == nil && revision > 0
	})
	await(t, "the Event of the rescue", time.Minute, func(ctx context.Context) bool {
		listed, err := l.Client().EventsV1().Events(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(listed.Items, hasReason("Rescued"))
	})
	if got := refused(t, l, p.user); len(got) > 0 {
		t.Errorf("was refused: %+v", got)
	}
}

func TestPlacementIsRefusedNothingWhereItRendersAdmissionPolicies(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	p := newPlacement(t, l, placementrun.AdmissionPolicy)
	p.start(t)
	for _, name := range []string{"dns", "ingress-nginx", "system-critical"} {
		await(t, "policy "+name+" to be in force", 2*time.Minute, func(ctx context.Context) bool {
			return meta.IsStatusConditionTrue(p.policy(ctx, name).Status.Conditions, v1alpha1.ConditionRendered)
		})
	}
	await(t, "the binding", time.Minute, func(ctx context.Context) bool {
		_, err := l.Client().AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Get(ctx, "ebbtide-placement", metav1.GetOptions{})
		return err == nil
	})
	if got := refused(t, l, p.user); len(got) > 0 {
		t.Errorf("was refused: %+v", got)
	}
}

// dns is a pod as that of every distribution, which would rather be on a spot node.
const dns = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns}
spec:
  replicas: 1
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      terminationGracePeriodSeconds: 2
      containers: [{name: coredns, image: none, resources: {requests: {cpu: 100m}}}]
`

// installedPlacement is placement in a lab, by an account with the rights of the chart.
type installedPlacement struct {
	lab              *lab.Lab
	installed        *placementrun.Installation
	mode             string
	user, kubeconfig string
	replica          *placementrun.Replica
}

// newPlacement installs what the chart makes, but for the pods: the program is to run as
// a process.
func newPlacement(t *testing.T, l *lab.Lab, mode string) *installedPlacement {
	t.Helper()
	installed, err := placementrun.Install(t.Context(), l, placementrun.InstallOptions{})
	must(t, err)
	t.Cleanup(func() {
		if err := installed.Front.Close(); err != nil {
			t.Error(err)
		}
	})
	const account = "charted-placement"
	objects := rendered(t, Options{Namespace: installed.Namespace(), Values: map[string]any{
		"fullnameOverride": "charted",
		"placement":        map[string]any{"config": map[string]any{"mode": mode}},
	}})
	p := &installedPlacement{
		lab: l, installed: installed, mode: mode, user: lab.ServiceAccountUser(installed.Namespace(), account),
		kubeconfig: accountOf(t, l, installed.Namespace(), account, objects),
	}
	text, err := objects.Of("MutatingWebhookConfiguration", "PlacementPolicy").YAML()
	must(t, err)
	must(t, l.Apply(t.Context(), "", text))
	return p
}

var crds = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

const policiesCRD = "placementpolicies.placement.ebbtide.dev"

// outdateCRD makes the CRD look as if a release from before revisions had installed it.
func (p *installedPlacement) outdateCRD(t *testing.T) {
	t.Helper()
	client, err := dynamic.NewForConfig(p.lab.Config())
	must(t, err)
	patch := fmt.Sprintf(`{"metadata": {"annotations": {%q: null}}}`, crd.RevisionAnnotation)
	_, err = client.Resource(crds).Patch(t.Context(), policiesCRD, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	must(t, err)
}

// crd returns the CRD as it is; an empty one when it cannot be read.
func (p *installedPlacement) crd(ctx context.Context) *unstructured.Unstructured {
	client, err := dynamic.NewForConfig(p.lab.Config())
	if err != nil {
		return &unstructured.Unstructured{}
	}
	found, err := client.Resource(crds).Get(ctx, policiesCRD, metav1.GetOptions{})
	if err != nil {
		return &unstructured.Unstructured{}
	}
	return found
}

// start starts a replica and waits until it is ready.
func (p *installedPlacement) start(t *testing.T) {
	t.Helper()
	p.replica = p.installed.Run(t, placementrun.Options{
		Instance: "replica-1", Kubeconfig: p.kubeconfig, Config: map[string]any{"mode": p.mode},
	})
	must(t, p.replica.Ready(within(t, 2*time.Minute)))
}

// policy returns a policy as it is; the zero value when it cannot be read.
func (p *installedPlacement) policy(ctx context.Context, name string) v1alpha1.PlacementPolicy {
	var policy v1alpha1.PlacementPolicy
	client, err := dynamic.NewForConfig(p.lab.Config())
	if err != nil {
		return policy
	}
	found, err := client.Resource(v1alpha1.PlacementPolicies).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(found.Object, &policy)
	}
	if err != nil {
		return v1alpha1.PlacementPolicy{}
	}
	return policy
}
