package chart

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/sweep"
)

// swept is a node that a drain has left closed, and placement's account as the chart
// makes it, bound by the chart's policy.
type swept struct {
	lab  *lab.Lab
	node *lab.Node
	user string
	// access is that of the account, client a client by it.
	access *rest.Config
	client kubernetes.Interface
}

func newSwept(t *testing.T) *swept {
	t.Helper()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	values, name := named(namespace)
	name += "-placement"
	objects := rendered(t, Options{Namespace: namespace, Values: values})
	access, err := clientcmd.BuildConfigFromFlags("", accountOf(t, l, namespace, name, objects))
	must(t, err)
	client, err := kubernetes.NewForConfig(access)
	must(t, err)
	s := &swept{
		lab: l, node: l.Node(t, lab.NodeSpec{Name: namespace + "-node"}), user: lab.ServiceAccountUser(namespace, name),
		access: access, client: client,
	}
	var bound Objects
	for _, object := range objects.Of("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding") {
		if object.GetName() == name+"-node" {
			bound = append(bound, object)
		}
	}
	text, err := bound.YAML()
	must(t, err)
	must(t, l.Apply(t.Context(), "", text))
	t.Cleanup(func() {
		admission, ctx := l.Client().AdmissionregistrationV1(), context.WithoutCancel(t.Context())
		err := errors.Join(admission.ValidatingAdmissionPolicyBindings().Delete(ctx, name+"-node", metav1.DeleteOptions{}),
			admission.ValidatingAdmissionPolicies().Delete(ctx, name+"-node", metav1.DeleteOptions{}))
		if err != nil {
			t.Error(err)
		}
	})
	await(t, "the policy to be in force", time.Minute, func(ctx context.Context) bool {
		return isRefused(s.patch(ctx, `{"metadata": {"labels": {"thief": "was-here"}}}`))
	})
	return s
}

// patch changes the node by placement's account, unless it is refused.
func (s *swept) patch(ctx context.Context, patch string) error {
	_, err := s.client.CoreV1().Nodes().Patch(ctx, s.node.Name(), types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{
		DryRun: []string{metav1.DryRunAll},
	})
	return err
}

// isRefused says of an error that it was the policy's, and not the lack of a right.
func isRefused(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy")
}

// mark leaves the node as a drain does, and out of the load balancers besides, with the
// taint that Kubernetes itself adds to a cordoned node.
func (s *swept) mark(t *testing.T) {
	t.Helper()
	patch := `{"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}, "annotations": {"ebbtide.dev/interruption":
"{\"notice\": \"i-1\", \"kind\": \"SpotInterruption\", \"bootID\": \"b\", \"cordoned\": true, \"excluded\": true, \"deadline\": \"2026-01-01T00:00:00Z\"}"}},
"spec": {"unschedulable": true, "taints": [{"key": "ebbtide.dev/interruption", "value": "SpotInterruption", "effect": "NoSchedule"},
{"key": "dedicated", "value": "edge", "effect": "NoSchedule"}, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}}`
	s.change(t, patch)
}

// advise leaves the node as an advice does.
func (s *swept) advise(t *testing.T) {
	t.Helper()
	s.change(t, `{"metadata": {"annotations": {"ebbtide.dev/interruption":
"{\"notice\": \"r-1\", \"kind\": \"RebalanceAdvice\", \"bootID\": \"b\", \"advice\": \"HandOver\", \"deadline\": \"2026-01-01T00:00:00Z\"}"}},
"spec": {"taints": [{"key": "ebbtide.dev/interruption", "value": "RebalanceAdvice", "effect": "PreferNoSchedule"},
{"key": "dedicated", "value": "edge", "effect": "NoSchedule"}]}}`)
}

// change changes the node by the administrator's account.
func (s *swept) change(t *testing.T, patch string) {
	t.Helper()
	_, err := s.lab.Client().CoreV1().Nodes().Patch(t.Context(), s.node.Name(), types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	must(t, err)
}

func TestASweepIsRefusedNothingWithTheRightsOfTheChart(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*swept, *testing.T){"after a drain": (*swept).mark, "after an advice": (*swept).advise} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSwept(t)
			leave(s, t)
			s.isSwept(t)
		})
	}
}

// isSwept runs a sweeper and waits until nothing of ours is left on the node.
func (s *swept) isSwept(t *testing.T) {
	t.Helper()
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: s.client.EventsV1()})
	ctx, stop := context.WithCancel(t.Context())
	must(t, broadcaster.StartRecordingToSinkWithContext(ctx))
	t.Cleanup(broadcaster.Shutdown)
	sweeper := &sweep.Sweeper{
		Undoer: sweep.Undoer{Config: s.access, Client: s.client},
		Look: func(ctx context.Context) (sweep.View, error) {
			node, err := s.lab.Client().CoreV1().Nodes().Get(ctx, s.node.Name(), metav1.GetOptions{})
			return sweep.View{Nodes: []*corev1.Node{node}}, err
		},
		After: time.Second, Period: 100 * time.Millisecond,
		Events:  broadcaster.NewRecorder(scheme.Scheme, "ebbtide.dev/placement"),
		Metrics: sweep.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
	}
	ended := make(chan error, 1)
	go func() { ended <- sweeper.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})

	await(t, "the node to be open", time.Minute, func(ctx context.Context) bool {
		node, err := s.lab.Client().CoreV1().Nodes().Get(ctx, s.node.Name(), metav1.GetOptions{})
		_, excluded := node.Labels[drain.ExcludeLabel]
		return err == nil && !node.Spec.Unschedulable && !excluded && node.Annotations[drain.StateAnnotation] == "" &&
			len(node.Spec.Taints) == 1 && node.Spec.Taints[0].Key == "dedicated" // Kubernetes takes its own off by itself
	})
	await(t, "the Event of it", time.Minute, func(ctx context.Context) bool {
		listed, err := s.lab.Client().EventsV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{
			FieldSelector: "regarding.name=" + s.node.Name() + ",reason=Swept",
		})
		return err == nil && len(listed.Items) == 1
	})
}

// Whoever has stolen the token can open a node that an agent has closed, as the program
// can, and nothing else. Each patch breaks one rule of the policy, and that one refuses it.
func TestAStolenTokenOfPlacementChangesNoNodeInAnyOtherWay(t *testing.T) {
	t.Parallel()
	s := newSwept(t)
	s.checkTypes(t)
	const (
		forget  = `"metadata": {"annotations": {"ebbtide.dev/interruption": null}}`
		untaint = `"taints": [{"key": "dedicated", "value": "edge", "effect": "NoSchedule"},
{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]`
		only = "only to take back all"
	)
	s.refuses(t, map[string][2]string{
		"a cordon of a node that is open": {only, `{"spec": {"unschedulable": true}}`},
		"a taint on it":                   {only, `{"spec": {"taints": [{"key": "ebbtide.dev/interruption", "effect": "NoExecute"}]}}`},
		"a state for it":                  {only, `{"metadata": {"annotations": {"ebbtide.dev/interruption": "{}"}}}`},
	})

	s.change(t, `{"metadata": {"annotations": {"ebbtide.dev/interruption": "{}"}}}`)
	await(t, "the policy to let a state be taken off", time.Minute, func(ctx context.Context) bool {
		return s.patch(ctx, `{`+forget+`}`) == nil
	})
	s.refuses(t, map[string][2]string{
		"a cordon in the place of a state": {"may not cordon", `{` + forget + `, "spec": {"unschedulable": true}}`},
	})

	s.mark(t)
	await(t, "the policy to let a node be opened", time.Minute, func(ctx context.Context) bool {
		return s.patch(ctx, `{`+forget+`, "spec": {"unschedulable": false, `+untaint+`}}`) == nil
	})
	// beside opens the node and changes something else of its metadata or its spec.
	beside := func(metadata, spec string) string {
		return `{"metadata": {` + metadata + `"annotations": {"ebbtide.dev/interruption": null}}, "spec": {` + spec + untaint + `}}`
	}
	const taints = "of a node's taints"
	s.refuses(t, map[string][2]string{
		"the annotation kept":          {only, `{"spec": {` + untaint + `}}`},
		"another taint taken off":      {taints, `{` + forget + `, "spec": {"taints": []}}`},
		"our taint kept":               {taints, `{` + forget + `}`},
		"a taint put in":               {taints, `{` + forget + `, "spec": {"taints": [{"key": "x", "effect": "NoExecute"}]}}`},
		"a label put in":               {"of a node's labels", beside(`"labels": {"x": "y"}, `, "")},
		"a label changed":              {"of a node's labels", beside(`"labels": {"kubernetes.io/hostname": "x"}, `, "")},
		"a label taken off":            {"of a node's labels", beside(`"labels": {"kubernetes.io/hostname": null}, `, "")},
		"another annotation":           {"of a node's annotations", `{"metadata": {"annotations": {"x": "y", "ebbtide.dev/interruption": null}}, "spec": {` + untaint + `}}`},
		"a finalizer":                  {"of a node's metadata", beside(`"finalizers": ["x.example.com/y"], `, "")},
		"an address for its pods":      {"of a node's spec", beside("", `"podCIDR": "192.0.2.0/24", "podCIDRs": ["192.0.2.0/24"], `)},
		"a provider's name for itself": {"of a node's spec", beside("", `"providerID": "x", `)},
	})
}

// refuses fails the test for each patch that the policy does not refuse by the message
// that is named before it.
func (s *swept) refuses(t *testing.T, attempts map[string][2]string) {
	t.Helper()
	for what, attempt := range attempts {
		if err := s.patch(t.Context(), attempt[1]); !isRefused(err) || !strings.Contains(err.Error(), attempt[0]) {
			t.Errorf("%s is answered with %v, want %q", what, err, attempt[0])
		}
	}
}

// checkTypes fails when the API server remarks on the policy's expressions, which it
// checks against the types of what they look at.
func (s *swept) checkTypes(t *testing.T) {
	t.Helper()
	name := s.user[strings.LastIndex(s.user, ":")+1:] + "-node"
	await(t, "the API server to check the policy", time.Minute, func(ctx context.Context) bool {
		policy, err := s.lab.Client().AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(ctx, name, metav1.GetOptions{})
		if err != nil || policy.Status.ObservedGeneration != policy.Generation || policy.Status.TypeChecking == nil {
			return false
		}
		for _, warning := range policy.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("%s: %s", warning.FieldRef, warning.Warning)
		}
		return true
	})
}
