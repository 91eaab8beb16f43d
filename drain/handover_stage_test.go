package drain

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// stage is a namespace of the shared lab with a doomed node, on which its pods
// run, and a refuge for their replacements.
type stage struct {
	*testing.T
	lab       *lab.Lab
	namespace string
	doomed    *lab.Node
	refuge    *lab.Node
	config    *rest.Config
}

// newStage runs manifests on the doomed node until as many pods are Ready, cordons
// it, and opens the refuge. What the manifests create goes onto the stage's nodes
// by the nodeSelector "stage: ${stage}".
func newStage(t *testing.T, pods int, manifests ...string) *stage {
	t.Helper()
	return newStageOf(t, lab.Shared(t), pods, manifests...)
}

// newStageOf makes a stage of a lab that the test has for itself.
func newStageOf(t *testing.T, l *lab.Lab, pods int, manifests ...string) *stage {
	t.Helper()
	s := &stage{T: t, lab: l, namespace: l.Namespace(t)}
	s.doomed = s.node("doomed")
	kubeconfig, err := l.ServiceAccount(t.Context(), s.namespace, "agent", PolicyRules())
	s.must(err)
	s.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	s.must(err)
	s.apply(manifests...)
	s.must(l.WaitPods(s.within(time.Minute), s.namespace, "", lab.AllReady(pods)))
	s.settledStatus()
	s.cordon(s.doomed)
	s.refuge = s.node("refuge")
	return s
}

func (s *stage) cordon(node *lab.Node) {
	s.Helper()
	patch := []byte(`{"spec":{"unschedulable":true}}`)
	_, err := s.lab.Client().CoreV1().Nodes().Patch(s.Context(), node.Name(), types.MergePatchType, patch, metav1.PatchOptions{})
	s.must(err)
}

func (s *stage) node(name string) *lab.Node {
	s.Helper()
	return s.lab.Node(s.T, lab.NodeSpec{Name: s.namespace + "-" + name, Labels: map[string]string{"stage": s.namespace}})
}

func (s *stage) apply(manifests ...string) {
	s.Helper()
	all := strings.ReplaceAll(strings.Join(manifests, "\n---\n"), "${stage}", s.namespace)
	s.must(s.lab.Apply(s.Context(), s.namespace, all))
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stage) within(limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	s.Cleanup(cancel)
	return ctx
}

// handOvers returns those of an agent of its own on the doomed node.
func (s *stage) handOvers() *HandOvers {
	s.Helper()
	return s.handOversOf(s.doomed)
}

// handOversOf returns those of an agent of its own.
func (s *stage) handOversOf(node *lab.Node) *HandOvers {
	s.Helper()
	client, err := NewClient(s.config, node.Name())
	s.must(err)
	return NewHandOvers(client, "notice-1")
}

// roundTripper is a function that carries requests, with what would carry them.
type roundTripper struct {
	meet func(request *http.Request, next http.RoundTripper) (*http.Response, error)
	next http.RoundTripper
}

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) {
	return r.meet(request, r.next)
}

// handOversThrough returns those of an agent whose requests meet something.
func (s *stage) handOversThrough(meet func(*http.Request, http.RoundTripper) (*http.Response, error)) *HandOvers {
	s.Helper()
	config := rest.CopyConfig(s.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return roundTripper{meet, next} })
	client, err := NewClient(config, s.doomed.Name())
	s.must(err)
	return NewHandOvers(client, "notice-1")
}

// drain moves the pods of h's node, as its agent would, until ctx ends or they have
// gone. notice is the time that the machine has.
func (s *stage) drain(ctx context.Context, h *HandOvers, policy Policy, notice time.Duration) []PodOutcome {
	s.Helper()
	watching, stop := context.WithTimeout(context.WithoutCancel(ctx), notice)
	defer stop()
	feed := h.client.Watch(watching)
	budget := NewBudget(time.Now().Add(notice), time.Now())
	pods, err := feed.Snapshot(watching)
	if err != nil {
		s.Error(err)
		return nil
	}
	mover := &Mover{
		Node: h.client, Policy: policy, Concurrency: 4, Reason: "SpotInterruption", Message: "a test",
		Log: slog.New(slog.DiscardHandler), Successor: h, Pods: feed.Pod,
	}
	plan := NewPlan(h.client.Name(), pods, budget, policy)
	cordoned := make(chan struct{})
	close(cordoned)
	_, outcomes := mover.Move(ctx, plan, feed.Changes(), feed.Budgets(), NewCountdown(budget), cordoned)
	return outcomes
}

// pods returns the pods of the doomed node that are not ending.
func (s *stage) pods() []corev1.Pod {
	s.Helper()
	list, err := s.lab.Client().CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{})
	s.must(err)
	var pods []corev1.Pod
	for _, pod := range list.Items {
		if pod.Spec.NodeName == s.doomed.Name() && pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// pod returns the one pod of the doomed node whose name begins with prefix.
func (s *stage) pod(prefix string) *corev1.Pod {
	s.Helper()
	for _, pod := range s.pods() {
		if strings.HasPrefix(pod.Name, prefix) {
			return &pod
		}
	}
	s.Fatalf("no pod %q is on the doomed node", prefix)
	return nil
}

// web returns the Deployment of that name.
func (s *stage) web() *appsv1.Deployment {
	s.Helper()
	deployment, err := s.lab.Client().AppsV1().Deployments(s.namespace).Get(s.Context(), "web", metav1.GetOptions{})
	s.must(err)
	return deployment
}

// settledStatus waits until the statuses of Deployments and budgets say what the
// pods do.
func (s *stage) settledStatus() {
	s.Helper()
	pdbs, err := s.lab.Client().PolicyV1().PodDisruptionBudgets(s.namespace).List(s.Context(), metav1.ListOptions{})
	s.must(err)
	for i := range pdbs.Items {
		s.waitBudget(pdbs.Items[i].Name, "to be counted", func(pdb *policyv1.PodDisruptionBudget) bool {
			status := pdb.Status
			return status.ObservedGeneration >= pdb.Generation && status.ExpectedPods > 0 && status.CurrentHealthy == status.ExpectedPods
		})
	}
	deployments := s.lab.Client().AppsV1().Deployments(s.namespace)
	list, err := deployments.List(s.Context(), metav1.ListOptions{})
	s.must(err)
	for _, d := range list.Items {
		s.waitDeployment(d.Name, "to be complete", func(d *appsv1.Deployment) bool {
			return d.Status.ObservedGeneration >= d.Generation && d.Status.AvailableReplicas == *d.Spec.Replicas &&
				d.Status.UpdatedReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas
		})
	}
}

func (s *stage) waitBudget(name, what string, cond func(*policyv1.PodDisruptionBudget) bool) {
	s.Helper()
	ctx := s.within(30 * time.Second)
	watcher, err := s.lab.Client().PolicyV1().PodDisruptionBudgets(s.namespace).
		Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	s.must(err)
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if pdb, ok := event.Object.(*policyv1.PodDisruptionBudget); ok && cond(pdb) {
			return
		}
	}
	s.Fatalf("waited in vain for budget %q %s", name, what)
}

func (s *stage) waitDeployment(name, what string, cond func(*appsv1.Deployment) bool) {
	s.Helper()
	ctx := s.within(30 * time.Second)
	watcher, err := s.lab.Client().AppsV1().Deployments(s.namespace).
		Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	s.must(err)
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if d, ok := event.Object.(*appsv1.Deployment); ok && cond(d) {
			return
		}
	}
	s.Fatalf("waited in vain for Deployment %q %s", name, what)
}

// waitPods waits until cond holds for all pods of the stage.
func (s *stage) waitPods(limit time.Duration, cond func([]corev1.Pod) bool) {
	s.Helper()
	s.must(s.lab.WaitPods(s.within(limit), s.namespace, "", cond))
}

// begun hands pod over, which must succeed.
func (s *stage) begun(h *HandOvers, pod *corev1.Pod) PodRef {
	s.Helper()
	refusal, err := h.Begin(s.within(10*time.Second), pod)
	s.must(err)
	if refusal != "" {
		s.Fatalf("pod %q is refused: %s", pod.Name, refusal)
	}
	return refOf(pod)
}

// succeeded waits for a pod's replacement, which must come.
func (s *stage) succeeded(h *HandOvers, ref PodRef) {
	s.Helper()
	end, why, err := h.Await(s.within(30*time.Second), ref)
	s.must(err)
	if end != Ready {
		s.Fatalf("the wait for pod %q ends with %q: %s", ref, end, why)
	}
}

// quota allows the stage the pods that it has, and no more.
func (s *stage) quota(pods int) {
	s.Helper()
	s.apply(fmt.Sprintf(`{apiVersion: v1, kind: ResourceQuota, metadata: {name: full}, spec: {hard: {pods: %d}}}`, pods))
	watcher, err := s.lab.Client().CoreV1().ResourceQuotas(s.namespace).Watch(s.within(20*time.Second), metav1.ListOptions{})
	s.must(err)
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if quota, ok := event.Object.(*corev1.ResourceQuota); ok && quota.Status.Used.Pods().Value() == int64(pods) {
			return
		}
	}
	s.Fatalf("the quota never counted %d pods", pods)
}

// controllersOf tells of every version of the stage's pods that nobody controls,
// from now on until the returned function is called, which counts them.
func (s *stage) controllersOf() (uncontrolled func() int) {
	s.Helper()
	pods := s.lab.Client().CoreV1().Pods(s.namespace)
	now, err := pods.List(s.Context(), metav1.ListOptions{})
	s.must(err)
	watcher, err := pods.Watch(s.Context(), metav1.ListOptions{ResourceVersion: now.ResourceVersion})
	s.must(err)
	count := make(chan int, 1)
	go func() {
		n := 0
		for event := range watcher.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok && metav1.GetControllerOf(pod) == nil {
				n++
			}
		}
		count <- n
	}()
	return func() int {
		watcher.Stop()
		return <-count
	}
}

// endpoints waits until the stage's one EndpointSlice has as many ready endpoints,
// and follows it until the returned function is called, which says how few there
// were at the worst moment since.
func (s *stage) endpoints(ready int) (fewest func() int) {
	s.Helper()
	slices := s.lab.Client().DiscoveryV1().EndpointSlices(s.namespace)
	watcher, err := slices.Watch(s.Context(), metav1.ListOptions{})
	s.must(err)
	settled, result := make(chan struct{}), make(chan int, 1)
	go func() {
		worst := -1
		for event := range watcher.ResultChan() {
			n, ok := readyEndpoints(event)
			switch {
			case !ok:
			case worst >= 0:
				worst = min(worst, n)
			case n == ready:
				worst = n
				close(settled)
			}
		}
		result <- worst
	}()
	select {
	case <-settled:
	case <-s.within(20 * time.Second).Done():
		s.Fatalf("there were never %d ready endpoints", ready)
	}
	return func() int {
		watcher.Stop()
		return <-result
	}
}

func readyEndpoints(event watch.Event) (int, bool) {
	slice, ok := event.Object.(*discoveryv1.EndpointSlice)
	if !ok {
		return 0, false
	}
	n := 0
	for _, endpoint := range slice.Endpoints {
		if endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
			n++
		}
	}
	return n, true
}

// web is a Deployment that may have one pod too many and none missing; its pods
// are Ready after half a second and end within another. Each of more, pairs of old
// and new, replaces a part of its manifest.
func web(name string, replicas int, more ...string) string {
	manifest := fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata:
      labels: {app: %[1]s}
      annotations: {lab.ebbtide.dev/ready-after: 500ms, lab.ebbtide.dev/exits-after: 200ms}
    spec:
      nodeSelector: {stage: "${stage}"}
      terminationGracePeriodSeconds: 5
      containers: [{name: c, image: none}]
`, name, replicas)
	return strings.NewReplacer(more...).Replace(manifest)
}

// guarded is a PodDisruptionBudget that lets no pod of web go while it has n.
func guarded(n int) string {
	return fmt.Sprintf(`
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: %d, selector: {matchLabels: {app: web}}}
`, n)
}

func service(app string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {selector: {app: %[1]s}, ports: [{port: 80}]}
`, app)
}
