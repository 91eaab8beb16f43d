package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// explainScene is a part of the shared lab with a policy, two long-lived nodes and a spot
// node of its own, and a Deployment that the policy matches. No webhook serves it.
type explainScene struct {
	*lab.Lab
	name, namespace string
}

func newExplainScene(t *testing.T, name string) explainScene {
	t.Helper()
	s := explainScene{Lab: lab.Shared(t), name: name}
	placementtest.InstallCRD(t, s.Lab)
	s.namespace = s.Namespace(t)
	for node, capacity := range map[string]string{"steady-1": "on-demand", "steady-2": "on-demand", "spot-1": "spot"} {
		s.Node(t, lab.NodeSpec{Name: name + "-" + node, Labels: map[string]string{"scene": name, "karpenter.sh/capacity-type": capacity}})
	}
	s.apply(t, s.policy("Auto"))
	t.Cleanup(func() {
		err := s.policies(t).Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	s.apply(t, s.deployment())
	return s
}

func (s explainScene) policies(t *testing.T) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(v1alpha1.PlacementPolicies)
}

func (s explainScene) apply(t *testing.T, manifest string) {
	t.Helper()
	if err := s.Apply(t.Context(), s.namespace, manifest); err != nil {
		t.Fatal(err)
	}
}

func (s explainScene) policy(mode string) string {
	return fmt.Sprintf("{apiVersion: placement.ebbtide.dev/v1alpha1, kind: PlacementPolicy, metadata: {name: %s}, spec: {mode: %s, "+
		"match: {podSelector: {matchLabels: {scene: %s}}}}}\n", s.name, mode, s.name)
}

// deployment is a Deployment whose pods run on the scene's nodes.
func (s explainScene) deployment() string {
	return fmt.Sprintf("{apiVersion: apps/v1, kind: Deployment, metadata: {name: dns}, spec: {selector: {matchLabels: {scene: %[1]s}}, "+
		"template: {metadata: {labels: {scene: %[1]s}}, spec: {nodeSelector: {scene: %[1]s}, containers: [{name: main, image: example.com/dns:1}]}}}}\n", s.name)
}

// reader makes an account that may get Deployments and list these resources, and
// returns its kubeconfig.
func (s explainScene) reader(t *testing.T, account string, resources ...string) string {
	t.Helper()
	rules := []rbacv1.PolicyRule{{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"get"}}}
	for _, resource := range resources {
		group := ""
		if resource == "placementpolicies" {
			group = "placement.ebbtide.dev"
		}
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{"list"}})
	}
	path, err := s.ServiceAccount(t.Context(), s.namespace, account, rules)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAClusterIsAskedForAllThatAFileLeavesOut(t *testing.T) {
	t.Parallel()
	s := newExplainScene(t, "asked")
	everything := s.reader(t, "everything", "placementpolicies", "namespaces", "nodes", "pods")
	required := s.namespace + " Deployment/dns Required EnoughLongLivedNodes asked"
	preferred := s.namespace + " Deployment/dns Preferred CapacityUnknown asked"
	for name, c := range map[string]struct {
		kubeconfig, stdin string
		args              []string
		want              string
		notes             []string // the beginning of each, but for the first
	}{
		"an object of the cluster": {everything, "", []string{"deploy/dns", "-n", s.namespace}, required, nil},
		"a file":                   {everything, s.deployment(), []string{"-n", s.namespace, "-f", "-"}, required, nil},
		"a file in a namespace that the cluster has not": {
			everything, s.deployment(), []string{"-n", "nowhere", "-f", "-"}, "nowhere Deployment/dns Required EnoughLongLivedNodes asked", nil,
		},
		"a policy of a file, which wins over the one of that name": {
			everything, s.policy("Required"),
			[]string{"deployments/dns", "-n", s.namespace, "--policies", "-"},
			s.namespace + " Deployment/dns Required PolicyRequires asked", nil,
		},
		"without a right to pods": {
			s.reader(t, "no-pods", "placementpolicies", "namespaces", "nodes"), "",
			[]string{"deployment/dns", "-n", s.namespace},
			preferred,
			[]string{"what the long-lived nodes can hold is not known: pods is forbidden: "},
		},
		"without a right to nodes": {
			s.reader(t, "no-nodes", "placementpolicies", "namespaces", "pods"), "",
			[]string{"deployment/dns", "-n", s.namespace},
			preferred,
			[]string{"what the long-lived nodes can hold is not known: nodes is forbidden: "},
		},
		"with a right to Deployments alone, and a policy": {
			s.reader(t, "nothing"), s.policy("Auto"),
			[]string{"deployment/dns", "-n", s.namespace, "--policies", "-"},
			preferred,
			[]string{
				"those of the files are all that is decided by: placementpolicies.placement.ebbtide.dev is forbidden: ",
				"one that no file describes is taken to have no label but its name: namespaces is forbidden: ",
				"what the long-lived nodes can hold is not known: nodes is forbidden: ",
				"what the long-lived nodes can hold is not known: pods is forbidden: ",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, notes := decisions(t, c.stdin, append(c.args, "--kubeconfig", c.kubeconfig)...)
			if diff := cmp.Diff([]string{c.want}, lines); diff != "" {
				t.Errorf("decisions (-want +got):\n%s", diff)
			}
			if len(notes) == 0 || !strings.HasPrefix(notes[0], "asked "+s.Config().Host+": ") {
				t.Fatalf("notes %q do not begin with the cluster", notes)
			}
			if !slices.EqualFunc(notes[1:], c.notes, strings.HasPrefix) {
				t.Errorf("further notes %q, want some that begin with %q", notes[1:], c.notes)
			}
		})
	}
}

func TestWhatTheClusterDoesNotGiveIsAnError(t *testing.T) {
	t.Parallel()
	s := newExplainScene(t, "ungiven")
	for name, c := range map[string]struct {
		kubeconfig string
		args       []string
		want       string
	}{
		"policies, when no file gives any": {
			s.reader(t, "nothing"),
			[]string{"deployment/dns"},
			"listing policies, which --policies can give instead: placementpolicies.placement.ebbtide.dev is forbidden: ",
		},
		"an object that is not there": {
			s.Kubeconfig(),
			[]string{"statefulset/dns"},
			fmt.Sprintf("reading statefulset/dns in namespace %q: statefulsets.apps \"dns\" not found\n", s.namespace),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ask(t, "", append(c.args, "-n", s.namespace, "--kubeconfig", c.kubeconfig)...)
			if got.code != exitUndecided || got.stdout != "" || !strings.Contains(got.stderr, explainName+": "+c.want) {
				t.Errorf("exit code %d, stdout %q, stderr\n%swant a line with\n%s", got.code, got.stdout, got.stderr, c.want)
			}
		})
	}
}

func TestAPodThatRunsIsDecidedAboutAsIfItWereCreatedAgain(t *testing.T) {
	t.Parallel()
	s := newExplainScene(t, "running")
	var pod corev1.Pod
	if err := s.WaitPods(t.Context(), s.namespace, "scene=running", func(pods []corev1.Pod) bool {
		if len(pods) == 1 {
			pod = pods[0]
		}
		return len(pods) == 1 && pod.Spec.NodeName != ""
	}); err != nil {
		t.Fatal(err)
	}
	got := ask(t, "", "po/"+pod.Name, "-n", s.namespace, "--kubeconfig", s.Kubeconfig(), "--config", testdata("config.yaml"), "--spot-label", "karpenter.sh/capacity-type=spot")
	kind := "long-lived"
	if strings.Contains(pod.Spec.NodeName, "spot") {
		kind = "spot"
	}
	want := fmt.Sprintf(`pod       %s/%s
decision  Required
reason    EnoughLongLivedNodes: a long-lived node is required: at least two could run the pod; policy "running"
note      the pod runs on node %q, a %s node; it is decided about as if it were created again

--- as created
`, s.namespace, pod.Name, pod.Spec.NodeName, kind)
	if got.code != exitDecided || !strings.HasPrefix(got.stdout, want) {
		t.Errorf("exit code %d, stderr %q, stdout\n%swant it to begin with\n%s", got.code, got.stderr, got.stdout, want)
	}
}
