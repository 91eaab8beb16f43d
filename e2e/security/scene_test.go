package security

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/chart"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/security/stolen"
)

func TestMain(m *testing.M) { lab.Main(agentrun.Suite(m)) }

// scene is the chart's agents, installed on two nodes: one whose token somebody has
// stolen, and one that this somebody shall not reach.
type scene struct {
	t          testing.TB
	lab        *lab.Lab
	namespace  string
	name       string // of what the chart makes, before "-agent"
	own, other *lab.Node
	// bound is the token of the agent's pod on the node own, unbound one of the same
	// account that no kubelet has asked for.
	bound, unbound string
}

// newScene installs the agents and waits until their pods run and the policies are in
// force.
func newScene(t testing.TB, l *lab.Lab) *scene {
	t.Helper()
	s := &scene{t: t, lab: l, namespace: l.Namespace(t)}
	// What has no namespace carries the end of ours in its name.
	s.name = "tide" + s.namespace[strings.LastIndex(s.namespace, "-"):]
	s.own = l.Node(t, lab.NodeSpec{Name: s.name + "-own", Labels: s.label(), Taints: []corev1.Taint{stolen.Keep}})
	s.other = l.Node(t, lab.NodeSpec{Name: s.name + "-other", Labels: s.label()})
	s.install()
	agents := s.agents()
	mine, others := agents[s.own.Name()], agents[s.other.Name()]
	s.bound = s.token(&authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: mine.Name, UID: mine.UID})
	s.unbound = s.token(nil)
	s.awaitPolicies(mine, others)
	return s
}

func (s *scene) label() map[string]string {
	return map[string]string{"lab.ebbtide.dev/scene": s.namespace}
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// within returns a context for a wait that must succeed in time.
func (s *scene) within(limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	s.t.Cleanup(cancel)
	return ctx
}

// policies are the kinds by which the chart binds the agent.
var policies = []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}

// render renders the agents for the scene's nodes. values are those of the group agent,
// laid over what the scene needs.
func (s *scene) render(values map[string]any) chart.Objects {
	s.t.Helper()
	agent := map[string]any{"nodeSelector": s.label()}
	maps.Copy(agent, values)
	objects, err := chart.Render(s.t.Context(), chart.Options{Namespace: s.namespace, Values: map[string]any{
		"fullnameOverride": s.name, "placement": map[string]any{"enabled": false}, "agent": agent,
	}})
	s.must(err)
	return objects
}

func (s *scene) install() {
	s.t.Helper()
	objects := s.render(nil)
	kinds := append([]string{"ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "DaemonSet"}, policies...)
	s.apply(objects.Of(kinds...))
	s.t.Cleanup(func() { s.withdraw(context.WithoutCancel(s.t.Context())) })
}

func (s *scene) apply(objects chart.Objects) {
	s.t.Helper()
	text, err := objects.YAML()
	s.must(err)
	s.must(s.lab.Apply(s.t.Context(), s.namespace, text))
}

// withdraw removes the policies, which everybody's requests are compared with.
func (s *scene) withdraw(ctx context.Context) {
	s.t.Helper()
	client := s.lab.Client().AdmissionregistrationV1()
	mine := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=ebbtide"}
	bindings, err := client.ValidatingAdmissionPolicyBindings().List(ctx, mine)
	s.must(err)
	for i := range bindings.Items {
		if name := bindings.Items[i].Name; strings.HasPrefix(name, s.name+"-") {
			err = errors.Join(err, client.ValidatingAdmissionPolicyBindings().Delete(ctx, name, metav1.DeleteOptions{}),
				client.ValidatingAdmissionPolicies().Delete(ctx, name, metav1.DeleteOptions{}))
		}
	}
	s.must(err)
}

// agents waits for the agents' pods and returns them by node.
func (s *scene) agents() map[string]*corev1.Pod {
	s.t.Helper()
	byNode := map[string]*corev1.Pod{}
	s.must(s.lab.WaitPods(s.within(time.Minute), s.namespace, "app.kubernetes.io/component=agent", func(pods []corev1.Pod) bool {
		clear(byNode)
		for i := range pods {
			byNode[pods[i].Spec.NodeName] = &pods[i]
		}
		return len(byNode) == 2 && lab.AllReady(2)(pods)
	}))
	return byNode
}

// token asks for a token of the agents' account as a kubelet does, which names the pod
// that it is for.
func (s *scene) token(pod *authenticationv1.BoundObjectReference) string {
	s.t.Helper()
	token, err := s.lab.Client().CoreV1().ServiceAccounts(s.namespace).CreateToken(s.t.Context(), s.name+"-agent",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: pod}}, metav1.CreateOptions{})
	s.must(err)
	return token.Status.Token
}

// config is how to reach the API server with a token.
func (s *scene) config(token string) *rest.Config {
	config := s.lab.Config()
	config.BearerToken, config.UserAgent = token, "stolen"
	return config
}

func (s *scene) client(token string) kubernetes.Interface {
	s.t.Helper()
	client, err := kubernetes.NewForConfig(s.config(token))
	s.must(err)
	return client
}

// kubeconfig writes the token down for the agent's program.
func (s *scene) kubeconfig(token string) string {
	s.t.Helper()
	from := s.config(token)
	config := clientcmdapi.NewConfig()
	config.Clusters["lab"] = &clientcmdapi.Cluster{Server: from.Host, CertificateAuthority: from.CAFile}
	config.AuthInfos["agent"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "agent"}
	config.CurrentContext = "lab"
	path := filepath.Join(s.t.TempDir(), "kubeconfig")
	s.must(clientcmd.WriteToFile(*config, path))
	return path
}

// awaitPolicies waits until each policy refuses something, of one pod on the own node or
// of one elsewhere. An API server takes a new policy into use within a second or two.
func (s *scene) awaitPolicies(near, far *corev1.Pod) {
	s.t.Helper()
	bound, unbound := s.client(s.bound), s.client(s.unbound)
	probes := map[string]func(context.Context) error{
		"-agent-node": func(ctx context.Context) error {
			return stolen.PatchNode(ctx, unbound, s.own.Name(), stolen.AnnotateNode)
		},
		"-agent-pod":          func(ctx context.Context) error { return stolen.PatchPod(ctx, unbound, near, "", stolen.Announce) },
		"-agent-pod-status":   func(ctx context.Context) error { return stolen.PatchPod(ctx, unbound, near, "status", stolen.Disrupt) },
		"-agent-pod-deletion": func(ctx context.Context) error { return stolen.DeletePod(ctx, unbound, near, stolen.ByUID(near)) },
		// Each eviction is one that the other of the two policies has nothing against.
		"-agent-eviction":      func(ctx context.Context) error { return stolen.Evict(ctx, bound, near, metav1.DeleteOptions{}) },
		"-agent-eviction-node": func(ctx context.Context) error { return stolen.Evict(ctx, bound, far, stolen.ByUID(far)) },
		"-agent-event": func(ctx context.Context) error {
			return stolen.Tell(ctx, unbound, stolen.AboutNode(s.own.Name(), s.own.Name()))
		},
	}
	for policy, probe := range probes {
		var last error
		err := wait.PollUntilContextTimeout(s.t.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
			last = probe(ctx)
			return last != nil && strings.Contains(last.Error(), fmt.Sprintf("'%s%s'", s.name, policy)), nil
		})
		if err != nil {
			s.t.Fatalf("waiting for policy %q to refuse something: %v; the last reply: %v", s.name+policy, err, last)
		}
	}
}

// pod makes a pod of nobody's on a node and waits until it runs.
func (s *scene) pod(name string, node *lab.Node) *corev1.Pod {
	s.t.Helper()
	s.must(s.lab.Apply(s.t.Context(), s.namespace, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %[1]s}, annotations: {%[3]s: 100ms}}
spec: {nodeName: %[2]s, terminationGracePeriodSeconds: 5, containers: [{name: c, image: none}]}
`, name, node.Name(), lab.ReadyAfter)))
	return s.only("app=" + name)
}

// only waits until the one pod of a selector is Ready, and returns it.
func (s *scene) only(selector string) *corev1.Pod {
	s.t.Helper()
	var only corev1.Pod
	s.must(s.lab.WaitPods(s.within(30*time.Second), s.namespace, selector, func(pods []corev1.Pod) bool {
		if len(pods) == 1 {
			only = pods[0]
		}
		return lab.AllReady(1)(pods)
	}))
	return &only
}

// refusals returns what the real agent of the scene was refused, by policies and by
// roles. 422 is a policy that cannot be evaluated.
func (s *scene) refusals() []lab.Request {
	s.t.Helper()
	requests, err := s.lab.Requests(s.t.Context(), lab.ServiceAccountUser(s.namespace, s.name+"-agent"))
	s.must(err)
	asked := 0
	var refused []lab.Request
	for _, r := range requests {
		if !strings.HasPrefix(r.UserAgent, drain.FieldManager) {
			continue // of this package's own attempts
		}
		asked++
		// 1.33 streams no lists and says so to the watch with a 422; the agent lists then.
		if r.Code == http.StatusForbidden || r.Code == http.StatusUnprocessableEntity && r.Verb != "watch" {
			refused = append(refused, r)
		}
	}
	if asked == 0 {
		s.t.Error("the agent has asked for nothing: nothing is proven")
	}
	return refused
}
