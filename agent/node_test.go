package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/drain"
)

// memoryNode is a Node and its pods in memory, for tests in virtual time. It
// keeps on the node what a drain.Client keeps there, and its pods end by
// themselves a while after they were told to. It knows no budgets but closed
// ones; what a real API server adds is tested in e2e.
type memoryNode struct {
	// feeds makes feeds, which this node fills.
	feeds *drain.Client

	mu   sync.Mutex
	node *corev1.Node // nil while the API server has none
	pods map[types.UID]*corev1.Pod
	feed *drain.Feed
	// closed holds the names of pods whose budget never opens by itself.
	closed map[string]bool
	// agents holds the names of the agents' pods that run beside this one.
	agents map[string]bool
	// lacks is what RBAC does not grant.
	lacks []drain.Permission
	// fault is asked before each request and may hold it up until ctx ends;
	// nil and a nil error let it through.
	fault func(ctx context.Context, verb string) error
	asked []request
}

// request is one request that reached, or would have reached, the API server.
type request struct {
	verb string
	at   time.Time
}

// The verbs under which a memoryNode counts requests.
const (
	get      = "get node"
	mark     = "mark node"
	undo     = "undo node"
	tidy     = "tidy pods"
	runs     = "look for agent"
	prove    = "rehearse cordon"
	review   = "review permissions"
	watching = "watch pods"
	evict    = "evict pod"
	remove   = "delete pod"
	disrupt  = "mark pod"
	announce = "announce deadline"
	services = "list services"
	others   = "list nodes"
	exclude  = "exclude node"
)

// stopsAfter is how long a pod of a memoryNode takes to stop.
const stopsAfter = time.Second

var _ Node = (*memoryNode)(nil)

// unanswered is the API server of a client that only makes feeds. It answers
// nothing but that there are no disruption budgets.
type unanswered struct{}

// noBudgets ends the list at the beginning of a watch (KEP-3157).
const noBudgets = `{"type": "BOOKMARK", "object": {"kind": "PodDisruptionBudget", "apiVersion": "policy/v1",
	"metadata": {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}}}`

func (unanswered) RoundTrip(request *http.Request) (*http.Response, error) {
	if strings.HasSuffix(request.URL.Path, "/poddisruptionbudgets") {
		body := io.MultiReader(strings.NewReader(noBudgets), silence{request.Context()})
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(body),
		}, nil
	}
	<-request.Context().Done()
	return nil, request.Context().Err()
}

// silence is the rest of a watch that has nothing to tell.
type silence struct {
	ctx context.Context //nolint:containedctx // it is the end of the watch
}

func (s silence) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, io.EOF
}

func newMemoryNode(t *testing.T, pods ...*corev1.Pod) *memoryNode {
	t.Helper()
	feeds, err := drain.NewClient(&rest.Config{Host: "http://nowhere.invalid", Transport: unanswered{}}, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	node := &memoryNode{
		feeds: feeds, node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}},
		pods: map[types.UID]*corev1.Pod{}, closed: map[string]bool{}, agents: map[string]bool{},
	}
	for _, pod := range pods {
		node.pods[pod.UID] = pod
	}
	return node
}

// newPod returns a running pod of a ReplicaSet; its UID is "uid-" and name.
func newPod(name string) *corev1.Pod { return ownedPod(name, "ReplicaSet") }

func ownedPod(name, kind string) *corev1.Pod {
	controller := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-" + name),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: kind, Name: "owner", UID: "uid-owner", Controller: &controller,
			}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

// begin counts a request and lets the fault have its way with it.
func (n *memoryNode) begin(ctx context.Context, verb string) error {
	n.mu.Lock()
	n.asked = append(n.asked, request{verb, time.Now()})
	fault := n.fault
	n.mu.Unlock()
	if fault == nil {
		return ctx.Err()
	}
	return fault(ctx, verb)
}

// times returns the moments of all requests with one of verbs, or of all.
func (n *memoryNode) times(verbs ...string) []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	var at []time.Time
	for _, one := range n.asked {
		if len(verbs) == 0 || slices.Contains(verbs, one.verb) {
			at = append(at, one.at)
		}
	}
	return at
}

func (n *memoryNode) Name() string { return "node-1" }

// Get reads before its fault, so that a slow reply is an old one.
func (n *memoryNode) Get(ctx context.Context) (*corev1.Node, error) {
	n.mu.Lock()
	node := n.node.DeepCopy()
	n.mu.Unlock()
	if err := n.begin(ctx, get); err != nil {
		return nil, err
	}
	if node == nil {
		return nil, n.notFound()
	}
	return node, nil
}

func (n *memoryNode) notFound() error {
	return apierrors.NewNotFound(corev1.Resource("nodes"), n.Name())
}

func (n *memoryNode) Mark(ctx context.Context, state drain.State) (drain.State, error) {
	if err := n.begin(ctx, mark); err != nil {
		return state, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.node == nil {
		return state, n.notFound()
	}
	state.Cordoned = !n.node.Spec.Unschedulable && state.Advice == ""
	if earlier, err := drain.ReadState(n.node); err == nil && earlier != nil {
		state.Keep(*earlier, time.Now())
	}
	n.write(state)
	return state, nil
}

// write puts state on the node, as an agent would have.
func (n *memoryNode) write(state drain.State) {
	text, err := json.Marshal(state)
	if err != nil {
		panic(err) // unreachable: strings, numbers and times always marshal
	}
	metav1.SetMetaDataAnnotation(&n.node.ObjectMeta, drain.StateAnnotation, string(text))
	if state.Advice == "" {
		n.node.Spec.Unschedulable = true
	}
}

func (n *memoryNode) Prove(ctx context.Context) error {
	if err := n.begin(ctx, prove); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.node == nil {
		return n.notFound()
	}
	return nil
}

func (n *memoryNode) Missing(ctx context.Context) ([]drain.Permission, error) {
	if err := n.begin(ctx, review); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lacks, nil
}

func (n *memoryNode) Watch(ctx context.Context) *drain.Feed {
	feed := n.feeds.Watch(ctx)
	if n.begin(ctx, watching) != nil {
		return feed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.feed = feed
	all := make([]any, 0, len(n.pods))
	for _, pod := range n.pods {
		all = append(all, pod.DeepCopy())
	}
	if err := feed.Replace(all, "1"); err != nil {
		panic(err) // unreachable: all of them are pods
	}
	return feed
}

func (n *memoryNode) Attachments(ctx context.Context) *drain.Attachments {
	return n.feeds.Attachments(ctx)
}

// Successor is none: hand-overs are the business of package drain.
func (n *memoryNode) Successor(string) drain.Successor { return nil }

// bind puts another pod on the node.
func (n *memoryNode) bind(pod *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pods[pod.UID] = pod
	if n.feed != nil {
		_ = n.feed.Add(pod.DeepCopy())
	}
}

func (n *memoryNode) Evict(ctx context.Context, pod drain.PodRef, grace time.Duration) error {
	if err := n.begin(ctx, evict); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed[pod.Name] {
		refusal := apierrors.NewTooManyRequests("the budget allows none", 0)
		refusal.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause}}
		return refusal
	}
	return n.stop(pod, grace)
}

func (n *memoryNode) Delete(ctx context.Context, pod drain.PodRef, grace time.Duration) error {
	if err := n.begin(ctx, remove); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stop(pod, grace)
}

// stop tells the pod to stop; it is gone when it has, or when its grace is over.
func (n *memoryNode) stop(ref drain.PodRef, grace time.Duration) error {
	pod := n.pods[ref.UID]
	if pod == nil {
		return apierrors.NewNotFound(corev1.Resource("pods"), ref.Name)
	}
	if pod.DeletionTimestamp != nil {
		return nil
	}
	until := metav1.NewTime(time.Now().Add(grace))
	pod.DeletionTimestamp = &until
	_ = n.feed.Update(pod.DeepCopy())
	time.AfterFunc(min(stopsAfter, grace), func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.pods, pod.UID)
		_ = n.feed.Delete(pod)
	})
	return nil
}

func (n *memoryNode) MarkDisrupted(ctx context.Context, _ drain.PodRef, _, _ string) error {
	return n.begin(ctx, disrupt)
}

func (n *memoryNode) Announce(ctx context.Context, _ drain.PodRef, _ time.Time) error {
	return n.begin(ctx, announce)
}

func (n *memoryNode) LocalServices(ctx context.Context) ([]corev1.Service, error) {
	return nil, n.begin(ctx, services)
}

func (n *memoryNode) AnotherServes(ctx context.Context) (bool, error) {
	return false, n.begin(ctx, others)
}

func (n *memoryNode) Exclude(ctx context.Context) (bool, error) {
	return true, n.begin(ctx, exclude)
}

// breakDown makes every request with one of verbs fail with err from now on;
// all of them work again without verbs.
func (n *memoryNode) breakDown(err error, verbs ...string) {
	n.setFault(func(ctx context.Context, verb string) error {
		if slices.Contains(verbs, verb) {
			return err
		}
		return ctx.Err()
	})
}

func (n *memoryNode) setFault(fault func(ctx context.Context, verb string) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = fault
}

// unschedulable says whether the node is cordoned, by whomever.
func (n *memoryNode) unschedulable() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.node.Spec.Unschedulable
}

// state returns what the node carries; nil when that is nothing.
func (n *memoryNode) state(t *testing.T) *drain.State {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	state, err := drain.ReadState(n.node)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// errBroken is what a broken API server or metadata service says in tests.
var errBroken = errors.New("connection refused")
