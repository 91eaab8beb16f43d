package interruptions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// scene is a part of the shared lab with an account that may do what [Counter] says it
// needs. Its tests run one after another: each counter hears every Event.
type scene struct {
	*lab.Lab
	t         *testing.T
	namespace string
	config    *rest.Config
}

func newScene(t *testing.T, rules ...rbacv1.PolicyRule) *scene {
	t.Helper()
	l := lab.Shared(t)
	s := &scene{Lab: l, t: t, namespace: l.Namespace(t)}
	kubeconfig, err := l.ServiceAccount(t.Context(), s.namespace, "counter", rules)
	s.must(err)
	s.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	s.must(err)
	return s
}

// mayHear is what [Counter] says it needs.
var mayHear = rbacv1.PolicyRule{APIGroups: []string{eventsv1.GroupName}, Resources: []string{"events"}, Verbs: []string{"list", "watch"}}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// counter makes a counter of its own, and returns what it counts by.
func (s *scene) counter() (*Counter, *prometheus.Registry) {
	s.t.Helper()
	api, err := kubernetes.NewForConfig(s.config)
	s.must(err)
	registry := prometheus.NewRegistry()
	return &Counter{
		Client: api, Nodes: nodeReader{api: s.Client()}, Leader: func(context.Context) (int, error) { return 1, nil },
		Metrics: NewMetrics(registry), Log: slog.New(slog.DiscardHandler),
	}, registry
}

// nodeReader asks the API server where the program has its cache.
type nodeReader struct {
	client.Reader
	api kubernetes.Interface
}

func (r nodeReader) List(ctx context.Context, into client.ObjectList, _ ...client.ListOption) error {
	nodes, is := into.(*corev1.NodeList)
	if !is {
		return errors.New("nobody lists anything but nodes")
	}
	listed, err := r.api.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	*nodes = *listed
	return nil
}

// begin runs a counter until the test ends or the returned function is called, and waits
// until it counts.
func (s *scene) begin(c *Counter, registry *prometheus.Registry) (end func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	stop := func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the counter ended with %v", err)
		}
		ended <- nil
	}
	s.t.Cleanup(stop)
	s.counts(registry, "to be counted at all", "ebbtide_interruptions_watched", 1)
	return stop
}

// value returns the value of a series, named by its metric and its label's value.
func value(t testing.TB, registry *prometheus.Registry, series string) float64 {
	t.Helper()
	words := strings.Fields(series)
	return placementtest.Metric(t, registry, words[0], words[1:]...)
}

// counts waits until a series has a value.
func (s *scene) counts(registry *prometheus.Registry, what, series string, want float64) {
	s.t.Helper()
	err := wait.PollUntilContextTimeout(s.t.Context(), 20*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		return value(s.t, registry, series) == want, nil
	})
	if err != nil {
		s.t.Fatalf("waiting for %s: %s is %v, want %v", what, series, value(s.t, registry, series), want)
	}
}

// node adds a node to the cluster, which carries nothing.
func (s *scene) node(name string) string {
	s.t.Helper()
	return s.Node(s.t, lab.NodeSpec{Name: s.namespace + "-" + name}).Name()
}

// carries writes to a node what an agent would; nil takes it off.
func (s *scene) carries(node string, state *drain.State) {
	s.t.Helper()
	var value any
	if state != nil {
		text, err := json.Marshal(state)
		s.must(err)
		value = string(text)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{drain.StateAnnotation: value}}})
	s.must(err)
	_, err = s.Client().CoreV1().Nodes().Patch(s.t.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{})
	s.must(err)
}

// told writes an Event as an agent does.
func (s *scene) told(event *eventsv1.Event) *eventsv1.Event {
	s.t.Helper()
	event.UID = ""
	event.Type, event.Action, event.EventTime = corev1.EventTypeWarning, "DrainNode", metav1.NowMicro()
	event.GenerateName = "told-"
	event.Namespace = metav1.NamespaceDefault
	if event.Regarding.Kind == "Pod" {
		event.Namespace, event.Regarding.Namespace = s.namespace, s.namespace
	}
	written, err := s.Client().EventsV1().Events(event.Namespace).Create(s.t.Context(), event, metav1.CreateOptions{})
	s.must(err)
	return written
}

// ending is an interruption that ends two minutes from now.
func ending(notice string) *drain.State {
	state := spot(notice)
	state.Deadline = time.Now().Add(2 * time.Minute)
	return state
}

func TestALeaderCountsWhatHasHappenedInItsTerm(t *testing.T) { //nolint:paralleltest // a counter hears every Event
	s := newScene(t, mayHear)
	ended, underWay, calm := s.node("ended"), s.node("under-way"), s.node("calm")
	for _, name := range []string{ended, underWay} {
		s.carries(name, ending("n"))
		s.told(ofNode(interruptionNoticed, name, "n"))
	}
	s.told(ofNode(nodeDrained, ended, "n"))
	s.told(ofPod("ForcedPastBudget", "before"))
	c, registry := s.counter()
	end := s.begin(c, registry)

	s.carries(calm, ending("n"))
	s.told(ofNode(interruptionNoticed, calm, "n"))
	s.told(ofPod("EvictedForInterruption", "p"))
	s.told(ofPod("EvictedForInterruption", "q"))
	s.told(ofPod("HandedOver", "r"))
	s.told(ofPod("GraceShortened", "r"))
	s.told(ofPod("EvictedInDrill", "d"))
	forced := s.told(ofPod("ForcedPastBudget", "f"))
	forced.Series = &eventsv1.EventSeries{Count: 2, LastObservedTime: metav1.NowMicro()}
	_, err := s.Client().EventsV1().Events(forced.Namespace).Update(t.Context(), forced, metav1.UpdateOptions{})
	s.must(err)
	s.told(ofNode(nodeDrained, underWay, "n"))
	s.told(ofNode(drainIncomplete, calm, "n"))
	s.counts(registry, "the interruption", "ebbtide_interruptions_total SpotInterruption", 1)
	s.counts(registry, "the last Event", "ebbtide_interruptions_drains_total Incomplete", 1)
	want := map[string]float64{
		"ebbtide_interruptions_total SpotInterruption":  1,
		"ebbtide_interruptions_total Unknown":           0,
		"ebbtide_interruptions_drains_total Drained":    1,
		"ebbtide_interruptions_drains_total Incomplete": 1,
		"ebbtide_interruptions_drains_total Unreported": 0,
		"ebbtide_interruptions_pods_total Evicted":      2,
		"ebbtide_interruptions_pods_total HandedOver":   1,
		"ebbtide_interruptions_pods_total Forced":       2,
		"ebbtide_interruptions_graces_shortened_total":  1,
	}
	got := map[string]float64{}
	for series := range want {
		got[series] = value(t, registry, series)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	end()
	if got := value(t, registry, "ebbtide_interruptions_watched"); got != 0 {
		t.Errorf("after the term ebbtide_interruptions_watched is %v, want 0", got)
	}
}

func TestALeaderGoesOnWhereItWasUnlessAnotherHasLed(t *testing.T) { //nolint:paralleltest // a counter hears every Event
	s := newScene(t, mayHear)
	doomed := s.node("doomed")
	c, registry := s.counter()
	transitions := 7
	c.Leader = func(context.Context) (int, error) { return transitions, nil }
	end := s.begin(c, registry)
	s.carries(doomed, ending("n"))
	s.counts(registry, "the interruption", "ebbtide_interruptions_total SpotInterruption", 1)
	end()
	s.told(ofPod("ForcedPastBudget", "p"))
	s.told(ofNode(drainIncomplete, doomed, "n"))
	end = s.begin(c, registry)
	s.counts(registry, "the drain that ended meanwhile", "ebbtide_interruptions_drains_total Incomplete", 1)
	s.counts(registry, "the pod that left meanwhile", "ebbtide_interruptions_pods_total Forced", 1)
	end()

	s.told(ofPod("ForcedPastBudget", "q"))
	transitions++
	s.begin(c, registry)
	s.told(ofPod("ForcedPastBudget", "r"))
	s.counts(registry, "the pod that left in its term", "ebbtide_interruptions_pods_total Forced", 2)
	s.counts(registry, "the interruption to be counted once", "ebbtide_interruptions_total SpotInterruption", 1)
}

// The deadline is past when the node is first seen to carry it, so that nobody has to
// wait for it here.
func TestADrainOfWhichNoWordComesCountsAsUnreported(t *testing.T) { //nolint:paralleltest // a counter hears every Event
	s := newScene(t, mayHear)
	silent := s.node("silent")
	c, registry := s.counter()
	s.begin(c, registry)
	state := spot("n")
	state.Deadline = time.Now().Add(-2 * time.Minute)
	s.carries(silent, state)
	s.counts(registry, "the interruption", "ebbtide_interruptions_total SpotInterruption", 1)
	s.counts(registry, "the drain", "ebbtide_interruptions_drains_total Unreported", 1)
}

// forgetful has an API server say that it does not know any more what a watch asks for.
type forgetful struct {
	http.RoundTripper
	// refuse is asked before each watch.
	refuse func() bool
}

func (f forgetful) RoundTrip(request *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(request.URL.Path, "/events") || request.URL.Query().Get("watch") == "" || !f.refuse() {
		return f.RoundTripper.RoundTrip(request)
	}
	gone := apierrors.NewResourceExpired("the provided resource version is too old").Status()
	gone.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	text, err := json.Marshal(metav1.WatchEvent{Type: "ERROR", Object: runtime.RawExtension{Object: &gone}})
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(text)), Request: request,
	}, nil
}

func TestEventsThatTheWatchHasMissedAreCounted(t *testing.T) { //nolint:paralleltest // a counter hears every Event
	s := newScene(t, mayHear)
	s.told(ofPod("ForcedPastBudget", "before"))
	var watches atomic.Int32
	s.config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return forgetful{RoundTripper: next, refuse: func() bool {
			if watches.Add(1) != 1 {
				return false
			}
			for i := range 3 {
				s.told(ofPod("ForcedPastBudget", fmt.Sprint("p-", i)))
			}
			return true
		}}
	})
	c, registry := s.counter()
	s.begin(c, registry)
	s.counts(registry, "what was told while nobody watched", "ebbtide_interruptions_pods_total Forced", 3)
	s.told(ofPod("ForcedPastBudget", "after"))
	s.counts(registry, "what was told after", "ebbtide_interruptions_pods_total Forced", 4)
	if got := watches.Load(); got != 2 {
		t.Errorf("began %d watches, want 2", got)
	}
}

func TestALeaderThatMayNotReadEventsSaysSo(t *testing.T) { //nolint:paralleltest // as the others of the scene
	s := newScene(t)
	c, registry := s.counter()
	err := c.Run(t.Context())
	if !apierrors.IsForbidden(err) {
		t.Errorf("the counter ended with %v, want that it is forbidden", err)
	}
	if got := value(t, registry, "ebbtide_interruptions_watched"); got != 0 {
		t.Errorf("ebbtide_interruptions_watched is %v, want 0", got)
	}
}
