package chart

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/cluster"
	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestTheAgentIsGrantedWhatItAsksForAndNothingElse(t *testing.T) {
	t.Parallel()
	always := slices.Concat(drain.PolicyRules(), report.PolicyRules())
	cases := map[string]struct {
		config map[string]any
		want   []rbacv1.PolicyRule
	}{
		"as the chart is":               {map[string]any{}, always},
		"where the cluster is a source": {map[string]any{"cluster": map[string]any{"enabled": true}}, slices.Concat(always, cluster.PolicyRules())},
		"where it could be, and is not": {map[string]any{"cluster": map[string]any{"enabled": false}}, always},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := map[string]any{"agent": map[string]any{"config": c.config}}
			role := object[rbacv1.ClusterRole](t, rendered(t, Options{Values: values}), "ClusterRole", "ebbtide-agent")
			if diff := cmp.Diff(permissions(c.want), permissions(role.Rules)); diff != "" {
				t.Errorf("permissions (-asked for +granted):\n%s", diff)
			}
		})
	}
}

// permissions are rules one by one, sorted.
func permissions(rules []rbacv1.PolicyRule) []string {
	var all []string
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					all = append(all, strings.Join(append([]string{group, resource, verb}, rule.ResourceNames...), " "))
				}
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A drain with all that it can be: pods that their budget lets go, one that is handed
// over, and one that is deleted past a budget that cannot open.
func TestADrainIsRefusedNothingWithTheRightsOfTheChart(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	mine := map[string]string{"lab.ebbtide.dev/scene": namespace}
	values, name := named(namespace)
	name += "-agent"
	objects := rendered(t, Options{Namespace: namespace, Values: values})
	kubeconfig := accountOf(t, l, namespace, name, objects)

	access, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	must(t, err)
	client, err := drain.NewClient(access, "any")
	must(t, err)
	missing, err := client.Missing(t.Context())
	must(t, err)
	if len(missing) > 0 {
		t.Errorf("the API server says that it may not %s", drain.Explain(missing))
	}

	doomed := l.Node(t, lab.NodeSpec{Name: namespace + "-doomed", Labels: mine})
	must(t, l.Apply(t.Context(), namespace, fmt.Sprintf(workloads, namespace)))
	must(t, l.WaitPods(within(t, time.Minute), namespace, "", lab.AllReady(4)))
	await(t, "the budgets to count their pods", 30*time.Second, func(ctx context.Context) bool {
		budgets, err := l.Client().PolicyV1().PodDisruptionBudgets(namespace).List(ctx, metav1.ListOptions{})
		return err == nil && !slices.ContainsFunc(budgets.Items, func(b policyv1.PodDisruptionBudget) bool { return b.Status.CurrentHealthy < 1 })
	})
	l.Node(t, lab.NodeSpec{Name: namespace + "-refuge", Labels: mine})
	imds := awstest.New(t)
	a := agentrun.New(t, agentrun.Options{
		Binary: agentrun.Binary(t, agentrun.Race), Node: doomed.Name(), Kubeconfig: kubeconfig, Endpoint: imds.URL(), Dir: t.TempDir(),
	})
	must(t, a.Ready(within(t, 30*time.Second)))

	deadline := time.Now().Add(30 * time.Second)
	doomed.DieAt(deadline)
	imds.Interrupt("terminate", deadline)
	record, err := a.WaitRecord(within(t, time.Minute), func(r agentrun.Record) bool { return strings.HasPrefix(r.Message, "Drained node") })
	must(t, err)
	var told drain.Report
	must(t, record.Decode("report", &told))
	paths := map[string]drain.Path{}
	for _, pod := range told.Pods {
		app, _, _ := strings.Cut(pod.Name, "-")
		paths[app] = pod.Path
	}
	want := map[string]drain.Path{"web": drain.Evicted, "single": drain.HandedOver, "db": drain.Forced}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	// They are written after the log.
	await(t, "Events of the pods that were handed over and forced", 10*time.Second, func(ctx context.Context) bool {
		listed, err := l.Client().EventsV1().Events(namespace).List(ctx, metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(listed.Items, hasReason("ForcedPastBudget")) && slices.ContainsFunc(listed.Items, hasReason("HandedOver"))
	})
	if got := refused(t, l, lab.ServiceAccountUser(namespace, name)); len(got) > 0 {
		t.Errorf("was refused: %+v", got)
	}
}

func hasReason(reason string) func(eventsv1.Event) bool {
	return func(event eventsv1.Event) bool { return event.Reason == reason }
}

// workloads are for the nodes whose label has the value that it is formatted with.
const workloads = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      nodeSelector: {lab.ebbtide.dev/scene: %[1]s}
      containers: [{name: c, image: none}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: single}
spec:
  replicas: 1
  selector: {matchLabels: {app: single}}
  template:
    metadata: {labels: {app: single}}
    spec: {terminationGracePeriodSeconds: 5, nodeSelector: {lab.ebbtide.dev/scene: %[1]s}, containers: [{name: c, image: none}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: single}
spec: {minAvailable: 1, selector: {matchLabels: {app: single}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 1
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {terminationGracePeriodSeconds: 5, nodeSelector: {lab.ebbtide.dev/scene: %[1]s}, containers: [{name: c, image: none}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: db}
spec: {minAvailable: 1, selector: {matchLabels: {app: db}}}
`

func TestTheAgentsCordonsPassItsEvictionsInTheAPIServer(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	values, name := named(namespace)
	name += "-agent"
	objects := rendered(t, Options{Namespace: namespace, Values: values})
	kubeconfig := accountOf(t, l, namespace, name, objects)
	text, err := objects.Of("PriorityLevelConfiguration", "FlowSchema").YAML()
	must(t, err)
	must(t, l.Apply(t.Context(), "", text))
	node := l.Node(t, lab.NodeSpec{Name: namespace + "-node"})

	levels := map[string]string{} // names by UID, as replies name them
	listed, err := l.Client().FlowcontrolV1().PriorityLevelConfigurations().List(t.Context(), metav1.ListOptions{})
	must(t, err)
	for _, level := range listed.Items {
		levels[string(level.UID)] = level.Name
	}
	replies := make(chan string, 1)
	access, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	must(t, err)
	access = rest.AddUserAgent(access, "chart-test")
	access.Wrap(func(next http.RoundTripper) http.RoundTripper { return levelOf{next, replies} })
	client, err := kubernetes.NewForConfig(access)
	must(t, err)

	cases := map[string]struct {
		ask  func() error
		want string
	}{
		"a look at the node": {
			func() error {
				_, err := client.CoreV1().Nodes().Get(t.Context(), node.Name(), metav1.GetOptions{})
				return err
			},
			"workload-high",
		},
		"a list of pods": {
			func() error {
				_, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
				return err
			},
			name,
		},
	}
	for what, c := range cases {
		// An API server takes a new schema into use within a moment.
		var last string
		deadline := time.Now().Add(30 * time.Second)
		for last != c.want && time.Now().Before(deadline) {
			must(t, c.ask())
			last = levels[<-replies]
		}
		if last != c.want {
			t.Errorf("%s goes through the level %q, want %q", what, last, c.want)
		}
	}
}

// levelOf tells the priority level of each reply.
type levelOf struct {
	next http.RoundTripper
	to   chan<- string
}

// RoundTrip implements http.RoundTripper.
func (l levelOf) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(request)
	if err == nil {
		l.to <- response.Header.Get(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID)
	}
	return response, err
}

func TestAChangedFileReplacesThePodsOfItsProgramOnly(t *testing.T) {
	t.Parallel()
	sums := func(values map[string]any) (agent, placement string) {
		for _, o := range rendered(t, Options{Values: values}).Of("DaemonSet", "Deployment") {
			sum, _, err := unstructured.NestedString(o.Object, "spec", "template", "metadata", "annotations", "checksum/config")
			must(t, err)
			if o.GetKind() == "DaemonSet" {
				agent = sum
			} else {
				placement = sum
			}
		}
		return agent, placement
	}
	agent, placement := sums(nil)
	changed, same := sums(map[string]any{"agent": map[string]any{"config": map[string]any{"drain": map[string]any{"concurrency": 32}}}})
	if agent == "" || placement == "" || changed == agent || same != placement {
		t.Errorf("checksums became %q and %q of %q and %q; want another and the same", changed, same, agent, placement)
	}
}
