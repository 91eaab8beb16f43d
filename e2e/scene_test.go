package e2e

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// atOnce is how many tests are under way at a time. They wait, most of the time,
// and see to it themselves that they do not compete for the processors.
const atOnce = "40"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	lab.Main(agentrun.Suite(m))
}

// scene is one doomed node with its metadata service, and a refuge for its pods.
// Scenes share a control plane and keep apart by a label on nodes and pods.
type scene struct {
	t         *testing.T
	lab       *lab.Lab
	namespace string
	doomed    *lab.Node
	imds      *awstest.Server
	// provider and endpoint are the cloud's that the agent asks: imds, unless a test has
	// another. config is laid over the agent's file.
	provider, endpoint string
	config             map[string]any

	user       string
	kubeconfig string
	noticed    time.Time
}

// busy holds a value for each scene with workloads: more at a time than the
// machine has room for would test the machine.
var busy = make(chan struct{}, 5)

// newScene makes a scene with an account that may do what the agent needs and
// nothing else. It waits until few enough others are under way.
func newScene(t *testing.T, l *lab.Lab) *scene {
	t.Helper()
	busy <- struct{}{}
	t.Cleanup(func() { <-busy })
	return newQuietScene(t, l)
}

// newQuietScene makes a scene that shall have no workload.
func newQuietScene(t *testing.T, l *lab.Lab) *scene {
	t.Helper()
	s := &scene{t: t, lab: l, namespace: l.Namespace(t), imds: awstest.New(t)}
	s.endpoint = s.imds.URL()
	s.doomed = l.Node(t, lab.NodeSpec{Name: s.namespace + "-doomed", Labels: s.label()})
	s.user = lab.ServiceAccountUser(s.namespace, "ebbtide-agent")
	var err error
	rules := append(drain.PolicyRules(), report.PolicyRules()...)
	s.kubeconfig, err = l.ServiceAccount(t.Context(), s.namespace, "ebbtide-agent", rules)
	s.must(err)
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

// run puts workloads on the doomed node, waits until their pods are Ready and counted
// by what counts them, and opens the refuge.
func (s *scene) run(pods int, manifests ...string) {
	s.t.Helper()
	s.must(s.lab.Apply(s.t.Context(), s.namespace, strings.Join(manifests, "\n---\n")))
	s.must(s.lab.WaitPods(s.within(time.Minute), s.namespace, "", lab.AllReady(pods)))
	s.counted()
	s.lab.Node(s.t, lab.NodeSpec{Name: s.namespace + "-refuge", Labels: s.label()})
}

// start starts an agent for the doomed node. It need not be ready.
func (s *scene) start(args ...string) *agentrun.Agent {
	s.t.Helper()
	return agentrun.New(s.t, agentrun.Options{
		Binary: agentrun.Binary(s.t, agentrun.Race), Node: s.doomed.Name(), Kubeconfig: s.kubeconfig,
		Provider: s.provider, Endpoint: s.endpoint, Dir: s.t.TempDir(), Config: s.config, Args: args,
	})
}

// ready starts an agent and waits until it would act on a notice.
func (s *scene) ready(args ...string) *agentrun.Agent {
	s.t.Helper()
	a := s.start(args...)
	s.must(a.Ready(s.within(30 * time.Second)))
	return a
}

// interrupt makes a notice readable and lets the machine die at its time.
func (s *scene) interrupt(lead time.Duration) {
	s.imds.Interrupt("terminate", s.doom(lead))
}

// doom lets the machine die after lead, and returns that moment.
func (s *scene) doom(lead time.Duration) time.Time {
	s.noticed = time.Now()
	deadline := s.noticed.Add(lead)
	s.doomed.DieAt(deadline)
	return deadline
}

// report waits for the agent's report of its drain.
func (s *scene) report(a *agentrun.Agent, limit time.Duration) drain.Report {
	s.t.Helper()
	record, err := a.WaitRecord(s.within(limit), func(r agentrun.Record) bool { return strings.HasPrefix(r.Message, "Drained node") })
	s.must(err)
	var report drain.Report
	s.must(record.Decode("report", &report))
	return report
}

// leaves matches the agent's word that it saw a pod leave whose name begins with
// prefix.
func leaves(prefix string) func(agentrun.Record) bool {
	return func(r agentrun.Record) bool {
		_, name, _ := strings.Cut(r.Text("pod"), "/")
		return r.Message == "Saw pod leave" && strings.HasPrefix(name, prefix)
	}
}

// lives returns what the doomed node knows of its pods, in the order in which
// they were told to stop.
func (s *scene) lives() []lab.PodRecord {
	var lives []lab.PodRecord
	for _, record := range s.lab.Records() {
		if record.Node == s.doomed.Name() && record.Namespace == s.namespace {
			lives = append(lives, record)
		}
	}
	slices.SortStableFunc(lives, func(a, b lab.PodRecord) int { return a.ToldAt.Compare(b.ToldAt) })
	return lives
}

// life returns the record of the doomed node's pod whose name begins with prefix.
func (s *scene) life(prefix string) lab.PodRecord {
	s.t.Helper()
	for _, record := range s.lives() {
		if strings.HasPrefix(record.Name, prefix) {
			return record
		}
	}
	s.t.Fatalf("no pod %q was on the doomed node", prefix)
	return lab.PodRecord{}
}

// noneLost fails the test for every pod that did not end by itself.
func (s *scene) noneLost() {
	s.t.Helper()
	for _, record := range s.lives() {
		if record.End != lab.Exited {
			s.t.Errorf("pod %s ended as %s, want %s", record.Name, record.End, lab.Exited)
		}
	}
}

// outcome returns the report's outcome for the pod whose name begins with prefix.
func outcome(t *testing.T, report drain.Report, prefix string) drain.PodOutcome {
	t.Helper()
	for _, pod := range report.Pods {
		if strings.HasPrefix(pod.Name, prefix) {
			return pod
		}
	}
	t.Fatalf("the report has no pod %q: %+v", prefix, report.Pods)
	return drain.PodOutcome{}
}

// requests returns what this scene's agents asked of the API server.
func (s *scene) requests() []lab.Request {
	s.t.Helper()
	requests, err := s.lab.Requests(s.t.Context(), s.user)
	s.must(err)
	return requests
}

// accepted returns the evictions and deletions that went through, by the UID
// that they named.
func (s *scene) accepted() map[types.UID]int {
	accepted := map[types.UID]int{}
	for _, r := range s.requests() {
		evicted := r.Verb == "create" && r.Subresource == "eviction"
		deleted := r.Verb == "delete" && r.Resource == "pods"
		if (evicted || deleted) && r.Code < 300 {
			accepted[r.UID]++
		}
	}
	return accepted
}

// toldOnce fails the test for every pod of the doomed node that was told twice,
// and for every call that named another pod.
func (s *scene) toldOnce() {
	s.t.Helper()
	accepted := s.accepted()
	for _, record := range s.lives() {
		if n := accepted[record.UID]; n > 1 {
			s.t.Errorf("pod %s was evicted %d times", record.Name, n)
		}
		delete(accepted, record.UID)
	}
	for uid := range accepted {
		s.t.Errorf("a pod of another node was evicted, or one without its UID: %q", uid)
	}
}

func (s *scene) node() *corev1.Node {
	s.t.Helper()
	node, err := s.lab.Client().CoreV1().Nodes().Get(s.t.Context(), s.doomed.Name(), metav1.GetOptions{})
	s.must(err)
	return node
}

// cordoned and clean are conditions for WaitNode.
func cordoned(node *corev1.Node) bool {
	return node.Spec.Unschedulable && node.Annotations[drain.StateAnnotation] != "" && hasTaint(node, drain.TaintKey)
}

func clean(node *corev1.Node) bool {
	return node.Annotations[drain.StateAnnotation] == "" && !hasTaint(node, drain.TaintKey)
}

func hasTaint(node *corev1.Node, key string) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == key })
}

// pods describes a workload in a manifest.
type pods struct {
	name     string
	kind     string // Deployment if empty; StatefulSet, DaemonSet or Pod
	replicas int
	grace    time.Duration // 5s if zero
	exits    time.Duration // 1s if zero
	ready    time.Duration // 1s if zero
	labels   string        // more labels, as "key: value, key: value"
	asks     string        // more annotations, likewise
	spec     string        // more lines of the pod's spec, as flow mapping entries
}

// stays keeps a pod from being handed over, for pods.asks.
const stays = drain.HandOverAnnotation + ": Never"

// manifest writes the workload for the scene's nodes.
func (p pods) manifest(s *scene) string {
	labels := "app: " + p.name
	if p.labels != "" {
		labels += ", " + p.labels
	}
	meta := fmt.Sprintf(`labels: {%s}, annotations: {%s: %s, %s: %s, %s}`, labels,
		lab.ExitsAfter, cmp.Or(p.exits, time.Second), lab.ReadyAfter, cmp.Or(p.ready, time.Second), p.asks)
	spec := fmt.Sprintf(`{terminationGracePeriodSeconds: %d, nodeSelector: {lab.ebbtide.dev/scene: %s}, containers: [{name: c, image: none}]`,
		int(cmp.Or(p.grace, 5*time.Second).Seconds()), s.namespace)
	if p.spec != "" {
		spec += ", " + p.spec
	}
	spec += "}"
	if p.kind == "Pod" {
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, %s}\nspec: %s\n", p.name, meta, spec)
	}
	extra := fmt.Sprintf("replicas: %d, ", p.replicas)
	switch p.kind {
	case "DaemonSet":
		extra = ""
	case "StatefulSet":
		extra += fmt.Sprintf("serviceName: %s, podManagementPolicy: Parallel, ", p.name)
	}
	return fmt.Sprintf("apiVersion: apps/v1\nkind: %s\nmetadata: {name: %s}\nspec: {%sselector: {matchLabels: {app: %s}}, template: {metadata: {%s}, spec: %s}}\n",
		cmp.Or(p.kind, "Deployment"), p.name, extra, p.name, meta, spec)
}

// budget writes a PodDisruptionBudget: field is minAvailable or maxUnavailable.
func budget(name, app, field, value string) string {
	return fmt.Sprintf("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: %s}\nspec: {%s: %s, selector: {matchLabels: {app: %s}}}\n",
		name, field, value, app)
}

// stateOf makes the state of a drain whose deadline is lead from now.
func stateOf(t *testing.T, boot drain.Boot, lead time.Duration) drain.State {
	t.Helper()
	now := time.Now()
	state := drain.State{Notice: "n", Source: "aws/spot", Kind: string(agent.SpotInterruption), Cordoned: true}
	state.SetDeadline(now.Add(lead), now, boot)
	return state
}

// watched follows one pod of the scene.
type watched struct {
	done   chan struct{}
	marked bool
	// told is the deadline that the pod was told before it was told to stop.
	told string
}

// watchPod follows the pod whose name begins with app until it is gone, and
// notes whether it ever carried the condition DisruptionTarget.
func (s *scene) watchPod(app string) *watched {
	s.t.Helper()
	watcher, err := s.lab.Client().CoreV1().Pods(s.namespace).Watch(s.t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	s.must(err)
	w := &watched{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for event := range watcher.ResultChan() {
			pod, ok := event.Object.(*corev1.Pod)
			if !ok || pod.Spec.NodeName != s.doomed.Name() {
				continue
			}
			if pod.DeletionTimestamp == nil {
				w.told = pod.Annotations[drain.DeadlineAnnotation]
			}
			for _, condition := range pod.Status.Conditions {
				if condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue {
					w.marked = true
				}
			}
			if event.Type == watch.Deleted {
				watcher.Stop()
				return
			}
		}
	}()
	return w
}

func (w *watched) disrupted() bool {
	<-w.done
	return w.marked
}
