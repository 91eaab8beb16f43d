package security

import (
	"context"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/ebbtide/ebbtide/e2e/chart"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/security/stolen"
)

// A policy that fails closed concerns everybody whose requests it matches. kubectl drain
// takes a 404 for done and everything else for the end.
func TestAnEvictionOfTheLastPodOfANamespaceIsStillAnsweredThatItIsGone(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	empty := s.lab.Namespace(t)
	gone := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: empty, Name: "gone", UID: "6f8f4ef8-0000-0000-0000-000000000000"}}
	if err := stolen.Evict(t.Context(), s.lab.Client(), gone, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("somebody else's eviction is answered %v, want a 404", err)
	}
	if err := stolen.Evict(t.Context(), s.client(s.bound), gone, stolen.ByUID(gone)); !apierrors.IsNotFound(err) {
		t.Errorf("the agent's eviction is answered %v, want a 404", err)
	}
}

func TestNobodyButTheAgentIsBound(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	pod := s.pod("web", s.other)
	admin := s.lab.Client()
	for name, do := range map[string]func(context.Context) error{
		"a node cordoned": func(ctx context.Context) error {
			return stolen.PatchNode(ctx, admin, s.other.Name(), `{"spec":{"unschedulable":true}}`)
		},
		"a pod relabelled": func(ctx context.Context) error {
			return stolen.PatchPod(ctx, admin, pod, "", `{"metadata":{"labels":{"app":"x"}}}`)
		},
		"a pod's status written": func(ctx context.Context) error {
			return stolen.PatchPod(ctx, admin, pod, "status", `{"status":{"message":"x"}}`)
		},
		"a pod evicted without a UID": func(ctx context.Context) error { return stolen.Evict(ctx, admin, pod, metav1.DeleteOptions{}) },
		"a pod deleted without grace": func(ctx context.Context) error { return stolen.DeletePod(ctx, admin, pod, stolen.Graceless(pod)) },
		"another node spoken of": func(ctx context.Context) error {
			return stolen.Tell(ctx, admin, stolen.AboutNode(s.own.Name(), s.other.Name()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := do(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The API server checks the expressions against the types of what they look at, and only
// remarks on what it finds.
func TestTheAPIServerFindsNoFaultWithTheExpressions(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	client := s.lab.Client().AdmissionregistrationV1().ValidatingAdmissionPolicies()
	for _, policy := range s.render(nil).Of("ValidatingAdmissionPolicy") {
		var checked *admissionregistrationv1.ValidatingAdmissionPolicy
		err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (_ bool, err error) {
			checked, err = client.Get(ctx, policy.GetName(), metav1.GetOptions{})
			return err == nil && checked.Status.ObservedGeneration == checked.Generation && checked.Status.TypeChecking != nil, err
		})
		if err != nil {
			t.Errorf("waiting for policy %q to be checked: %v", policy.GetName(), err)
			continue
		}
		for _, warning := range checked.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("policy %q: %s: %s", policy.GetName(), warning.FieldRef, warning.Warning)
		}
	}
}

func TestPodSecurityRestrictedTakesTheChartsPodsButForTheNodesNetwork(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	_, err := l.Client().CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, hostNetwork := range map[string]bool{"in the pods' network": false, "in the node's network": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for program, template := range templates(t, hostNetwork) {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "restricted-"}, Spec: template.Spec}
				// Pod Security looks at neither, and neither is in this namespace.
				pod.Spec.ServiceAccountName, pod.Spec.PriorityClassName = "default", ""
				_, err := l.Client().CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: stolen.Rehearsed})
				if hostNetwork && program != "sweep" {
					refusedForTheNetworkOnly(t, program, err)
				} else if err != nil {
					t.Errorf("%s: %v", program, err)
				}
			}
		})
	}
}

// refusedForTheNetworkOnly: a port in the node's network is one of the host's.
func refusedForTheNetworkOnly(t *testing.T, program string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("%s: the API server says %v, want a refusal", program, err)
		return
	}
	_, violations, _ := strings.Cut(err.Error(), `violates PodSecurity "restricted:latest": `)
	for violation := range strings.SplitSeq(violations, "), ") {
		if !strings.HasPrefix(violation, "host namespaces (hostNetwork=true") && !strings.HasPrefix(violation, "hostPort (") {
			t.Errorf("%s: Pod Security finds %q", program, violation)
		}
	}
}

// templates are the pods of all that the chart runs.
func templates(t *testing.T, hostNetwork bool) map[string]corev1.PodTemplateSpec {
	t.Helper()
	agentValues := map[string]any{"hostNetwork": hostNetwork}
	placementValues := map[string]any{"hostNetwork": hostNetwork, "config": map[string]any{
		// The kubelet has the port that placement has by default.
		"webhook": map[string]any{"listen": ":10350"},
	}}
	objects, err := chart.Render(t.Context(), chart.Options{Values: map[string]any{
		"agent": agentValues, "placement": placementValues, "sweep": map[string]any{"onUninstall": true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var agent appsv1.DaemonSet
	var placement appsv1.Deployment
	var sweep batchv1.Job
	for _, into := range []struct {
		kind, name string
		object     any
	}{
		{"DaemonSet", "ebbtide-agent", &agent},
		{"Deployment", "ebbtide-placement", &placement},
		{"Job", "ebbtide-sweep", &sweep},
	} {
		if err := objects.Read(into.kind, into.name, into.object); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]corev1.PodTemplateSpec{
		"agent": agent.Spec.Template, "placement": placement.Spec.Template, "sweep": sweep.Spec.Template,
	}
}
