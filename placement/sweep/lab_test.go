package sweep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// scene is a namespace of the shared lab, with nodes of its own.
type scene struct {
	*lab.Lab
	namespace string
	registry  *prometheus.Registry
	events    *events.FakeRecorder
}

func newScene(t *testing.T) *scene {
	t.Helper()
	l := lab.Shared(t)
	return &scene{Lab: l, namespace: l.Namespace(t), registry: prometheus.NewRegistry(), events: events.NewFakeRecorder(10)}
}

func (s *scene) node(t *testing.T) (*lab.Node, *drain.Client) {
	t.Helper()
	made := s.Node(t, lab.NodeSpec{Name: s.namespace + "-node", Labels: map[string]string{"scene": s.namespace}})
	client, err := drain.NewClient(s.Config(), made.Name())
	if err != nil {
		t.Fatal(err)
	}
	return made, client
}

// mark cordons a node as a drain for a notice, whose deadline is so far from now.
func mark(t *testing.T, client *drain.Client, notice string, away time.Duration) {
	t.Helper()
	state := drain.State{Notice: notice, Source: "aws", Kind: "SpotInterruption", Action: "terminate"}
	state.SetDeadline(time.Now().Add(away), time.Now(), drain.Boot{ID: "boot", Uptime: func() time.Duration { return 2 * time.Hour }})
	if _, outcome := drain.Cordon(t.Context(), client, state); outcome.Err != "" {
		t.Fatal(outcome.Err)
	}
}

// handOver makes a Deployment whose one pod runs on the node, and hands that over.
func (s *scene) handOver(t *testing.T, node *lab.Node, client *drain.Client) *corev1.Pod {
	t.Helper()
	manifest := fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1, selector: {matchLabels: {app: web}},
template: {metadata: {labels: {app: web}}, spec: {nodeSelector: {scene: %s}, tolerations: [{operator: Exists}],
containers: [{name: web, image: "example.com/web:1"}]}}}}`, s.namespace)
	if err := s.Apply(t.Context(), s.namespace, manifest); err != nil {
		t.Fatal(err)
	}
	var pod *corev1.Pod
	placementtest.Await(t, "the hand-over", func(ctx context.Context) error {
		pods, err := s.Client().CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil || !lab.AllReady(1)(pods.Items) {
			return fmt.Errorf("%d pods are there: %w", len(pods.Items), err)
		}
		pod = &pods.Items[0]
		refusal, err := drain.NewHandOvers(client, "i-1").Begin(ctx, pod)
		if err == nil && refusal != "" {
			return fmt.Errorf("it is refused: %s", refusal)
		}
		return err
	})
	if pod.Spec.NodeName != node.Name() {
		t.Fatalf("pod %s runs on %s", pod.Name, pod.Spec.NodeName)
	}
	return pod
}

// agent makes an agent's pod on a node, which is Ready when it returns.
func (s *scene) agent(t *testing.T, node *lab.Node) *corev1.Pod {
	t.Helper()
	manifest := fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: agent, labels: {app.kubernetes.io/part-of: ebbtide, app.kubernetes.io/component: agent},
annotations: {lab.ebbtide.dev/ready-after: 0s, lab.ebbtide.dev/exits-after: 0s}},
spec: {nodeName: %s, tolerations: [{operator: Exists}], containers: [{name: agent, image: "example.com/ebbtide:1"}]}}`, node.Name())
	if err := s.Apply(t.Context(), s.namespace, manifest); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitPods(t.Context(), s.namespace, "app.kubernetes.io/component=agent", lab.AllReady(1)); err != nil {
		t.Fatal(err)
	}
	pod, err := s.Client().CoreV1().Pods(s.namespace).Get(t.Context(), "agent", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// look is the scene's part of the cluster.
func (s *scene) look(ctx context.Context) (View, error) {
	nodes, err := s.Client().CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "scene=" + s.namespace})
	if err != nil {
		return View{}, err
	}
	pods, err := s.Client().CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return View{}, err
	}
	var view View
	for i := range nodes.Items {
		view.Nodes = append(view.Nodes, &nodes.Items[i])
	}
	for i := range pods.Items {
		view.Pods = append(view.Pods, &pods.Items[i])
	}
	return view, nil
}

// sweep runs a sweeper until the test ends, with a clock that is fast by so much.
func (s *scene) sweep(t *testing.T, look func(context.Context) (View, error), ahead time.Duration) {
	t.Helper()
	sweeper := &Sweeper{
		Undoer: Undoer{Config: s.Config(), Client: s.Client()}, Look: look, After: 500 * time.Millisecond,
		Events: s.events, Metrics: NewMetrics(s.registry), Log: slog.New(slog.DiscardHandler),
		Period: 50 * time.Millisecond, Now: func() time.Time { return time.Now().Add(ahead) },
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- sweeper.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func (s *scene) count(t *testing.T, outcome Outcome) float64 {
	t.Helper()
	return placementtest.Metric(t, s.registry, "ebbtide_placement_sweeps_total", string(outcome))
}

// told waits for the Event of a sweep.
func (s *scene) told(t *testing.T, what string) {
	t.Helper()
	select {
	case said := <-s.events.Events:
		if !strings.Contains(said, "Swept") || !strings.Contains(said, what) {
			t.Errorf("the Event says %q, want %q", said, what)
		}
	case <-t.Context().Done():
		t.Error("there is no Event")
	}
}

// awaitOpen waits until nothing of a drain is on the node.
func (s *scene) awaitOpen(t *testing.T, node *lab.Node) {
	t.Helper()
	placementtest.Await(t, "the node to be open", func(ctx context.Context) error {
		found, err := s.Client().CoreV1().Nodes().Get(ctx, node.Name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if found.Spec.Unschedulable || len(found.Spec.Taints) > 0 || found.Annotations[drain.StateAnnotation] != "" {
			return fmt.Errorf("it is %+v, with the annotations %v", found.Spec, found.Annotations)
		}
		return nil
	})
}

func TestANodeIsOpenedAgainWhoseAgentDoesNotComeBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	node, client := s.node(t)
	pod := s.handOver(t, node, client)
	mark(t, client, "i-1", -time.Hour)
	s.sweep(t, s.look, 0)
	s.awaitOpen(t, node)
	placementtest.Await(t, "the pod to be its ReplicaSet's again", func(ctx context.Context) error {
		found, err := s.Client().CoreV1().Pods(s.namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if owner := metav1.GetControllerOf(found); owner == nil || owner.Kind != "ReplicaSet" || found.Labels[drain.HandedOverKey] != "" {
			return fmt.Errorf("its owner is %v, its labels %v", owner, found.Labels)
		}
		return nil
	})
	s.told(t, "1 pods handed over")
	if got := s.count(t, Swept); got != 1 {
		t.Errorf("%v sweeps are counted, want 1", got)
	}
}

// An advice leaves a soft taint, which nobody may be kept off by for good, either.
func TestAnAdviceIsTakenBackWhoseAgentDoesNotComeBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	node, client := s.node(t)
	state := drain.State{Notice: "r-1", Source: "aws/rebalance", Kind: "RebalanceAdvice", Advice: "HandOver"}
	state.SetDeadline(time.Now().Add(-time.Hour), time.Now(), drain.Boot{ID: "boot", Uptime: func() time.Duration { return 2 * time.Hour }})
	if _, outcome := drain.Cordon(t.Context(), client, state); outcome.Err != "" {
		t.Fatal(outcome.Err)
	}
	s.sweep(t, s.look, 0)
	s.awaitOpen(t, node)
	s.told(t, "RebalanceAdvice, followed until")
}

// An agent that cannot see its cloud is not Ready, and knows more than whoever only sees
// that.
func TestANodeIsLeftToAnAgentThatIsBlind(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	node, client := s.node(t)
	agent := s.agent(t, node)
	mark(t, client, "i-1", -time.Hour)
	blind := func(ctx context.Context) (View, error) {
		view, err := s.look(ctx)
		for _, pod := range view.Pods {
			for i := range pod.Status.Conditions {
				pod.Status.Conditions[i].Status = corev1.ConditionFalse
			}
		}
		return view, err
	}
	s.unready(t, agent)
	s.sweep(t, blind, 2*settled) // in which the agent has run for a while
	placementtest.Await(t, "the node to be thought of", func(context.Context) error {
		if s.count(t, Changed) == 0 {
			return errors.New("it was not so far")
		}
		return nil
	})
	found, err := client.Get(t.Context())
	if err != nil || !found.Spec.Unschedulable || found.Annotations[drain.StateAnnotation] == "" || s.count(t, Swept) > 0 {
		t.Fatalf("it was opened: %+v, %v", found, err)
	}
	err = s.Client().CoreV1().Pods(s.namespace).Delete(t.Context(), agent.Name, metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitOpen(t, node)
}

// An agent may have come back, and be about the next interruption, since the cluster was
// looked at.
func TestADrainThatHasBegunMeanwhileGoesOn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, client := s.node(t)
	mark(t, client, "i-1", -time.Hour)
	old, err := s.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mark(t, client, "i-2", time.Hour)
	s.sweep(t, func(context.Context) (View, error) { return old, nil }, 0)
	placementtest.Await(t, "the node to be thought of", func(context.Context) error {
		if s.count(t, Changed) == 0 {
			return errors.New("it was not so far")
		}
		return nil
	})
	found, err := client.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if state, err := drain.ReadState(found); err != nil || state == nil || state.Notice != "i-2" || !found.Spec.Unschedulable {
		t.Errorf("it carries %+v (%v), and is unschedulable: %t", state, err, found.Spec.Unschedulable)
	}
}

// unready says of a pod that it is not Ready.
func (s *scene) unready(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	patch := `{"status": {"conditions": [{"type": "Ready", "status": "False"}]}}`
	_, err := s.Client().CoreV1().Pods(s.namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
}

func TestAPodThatIsHandedOverOnANodeThatIsGoneIsEvicted(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	node, client := s.node(t)
	pod := s.handOver(t, node, client)
	if err := node.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.sweep(t, s.look, 0)
	s.told(t, "does not exist any more")
	found, err := s.Client().CoreV1().Pods(s.namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) && (err != nil || found.DeletionTimestamp == nil) {
		t.Errorf("it was not: %v", err)
	}
}

// What is known may be a moment old.
func TestANodeThatIsSaidNotToExistIsLookedFor(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	node, client := s.node(t)
	pod := s.handOver(t, node, client)
	s.sweep(t, func(ctx context.Context) (View, error) {
		view, err := s.look(ctx)
		return View{Pods: view.Pods}, err
	}, 0)
	placementtest.Await(t, "the pod to be thought of", func(context.Context) error {
		if s.count(t, Changed) == 0 {
			return errors.New("it was not so far")
		}
		return nil
	})
	found, err := s.Client().CoreV1().Pods(s.namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
	if err != nil || found.DeletionTimestamp != nil {
		t.Errorf("it was evicted: %v", err)
	}
}

// hurried sheds the first write that gives a pod its own deletion cost back.
type hurried struct {
	http.RoundTripper
	shed atomic.Bool
}

func (h *hurried) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodPatch {
		return h.RoundTripper.RoundTrip(request)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(body, []byte(`"`+drain.DeletionCostAnnotation+`":null`)) && !h.shed.Swap(true) {
		const overloaded = `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 429, "reason": "TooManyRequests"}`
		return &http.Response{
			StatusCode: http.StatusTooManyRequests, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(overloaded)), Request: request,
		}, nil
	}
	again := request.Clone(request.Context())
	again.Body = io.NopCloser(bytes.NewReader(body))
	return h.RoundTripper.RoundTrip(again)
}

// The node carries nothing any more then, and nobody would find such a pod again.
func TestAPodThatIsGivenBackKeepsNoDeletionCostOfOurs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	node, client := s.node(t)
	pod := s.handOver(t, node, client)
	mark(t, client, "i-1", -time.Hour)
	view, err := s.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	transport := &hurried{}
	config := rest.CopyConfig(s.Config())
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		transport.RoundTripper = next
		return transport
	})
	outcome, err := Undoer{Config: config, Client: s.Client()}.Undo(t.Context(), Find(view.Nodes, view.Pods)[node.Name()],
		func(drain.State) bool { return true })
	if outcome != Swept || err != nil || !transport.shed.Load() {
		t.Fatalf("the undo says %s, %v; a write was shed: %t", outcome, err, transport.shed.Load())
	}
	found, err := s.Client().CoreV1().Pods(s.namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if cost, kept := found.Annotations[corev1.PodDeletionCost]; kept || found.Annotations[drain.DeletionCostAnnotation] != "" {
		t.Errorf("its deletion cost is %q, its annotations %v", cost, found.Annotations)
	}
}
