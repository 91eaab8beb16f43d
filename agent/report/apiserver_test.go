package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// apiServer is the far end of Events in memory, so that tests can run in virtual
// time: it keeps each Event once, as the real one does. What the real one accepts
// is tested in e2e.
type apiServer struct {
	decoder runtime.Decoder
	// answer says how a request is answered, and may hold it up; a nil error
	// keeps the Event. Nil answers so at once.
	answer func(ctx context.Context, event *eventsv1.Event) error

	mu     sync.Mutex
	events []*eventsv1.Event
	asked  int
	// open and most are how many requests are under way, and were at a time.
	open, most int
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := eventsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return &apiServer{decoder: serializer.NewCodecFactory(scheme).UniversalDeserializer()}
}

// sink returns Events about node that are written to this server, and the registry
// that counts them.
func (s *apiServer) sink(t *testing.T, node Node) (*Events, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	events, err := NewEvents(&rest.Config{Host: "http://nowhere.invalid", Transport: s}, node, registry)
	if err != nil {
		t.Fatal(err)
	}
	return events, registry
}

func (s *apiServer) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	object, _, err := s.decoder.Decode(body, nil, nil)
	if err != nil {
		return nil, err
	}
	event, is := object.(*eventsv1.Event)
	if want := "/apis/events.k8s.io/v1/namespaces/"; !is || request.URL.Path != want+event.Namespace+"/events" {
		return nil, errors.New("posting to " + request.URL.Path)
	}
	s.begin()
	defer s.end()
	if s.answer != nil {
		err = s.answer(request.Context(), event)
	}
	if err == nil {
		err = s.keep(event)
	}
	return reply(err)
}

func (s *apiServer) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	s.open++
	s.most = max(s.most, s.open)
}

func (s *apiServer) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

func (s *apiServer) keep(event *eventsv1.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.events, func(e *eventsv1.Event) bool { return e.Name == event.Name }) {
		return apierrors.NewAlreadyExists(eventsv1.Resource("events"), event.Name)
	}
	s.events = append(s.events, event)
	return nil
}

// reply answers with the status that err is, and passes on any other error as one
// of the connection.
func reply(err error) (*http.Response, error) {
	status := metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}
	if err != nil {
		var refusal apierrors.APIStatus
		if !errors.As(err, &refusal) {
			return nil, err
		}
		status = refusal.Status()
	}
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	text, err := json.Marshal(status)
	return &http.Response{
		StatusCode: int(status.Code), Header: http.Header{"Content-Type": {runtime.ContentTypeJSON}},
		Body: io.NopCloser(bytes.NewReader(text)),
	}, err
}

// has returns the reasons of the Events that were written, sorted.
func (s *apiServer) has() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	reasons := make([]string, 0, len(s.events))
	for _, event := range s.events {
		reasons = append(reasons, event.Reason)
	}
	slices.Sort(reasons)
	return reasons
}

// forbidden is what an API server says to an agent that may not write Events.
func forbidden(context.Context, *eventsv1.Event) error {
	return apierrors.NewForbidden(eventsv1.Resource("events"), "", errors.New("no rule allows it"))
}

// hangs answers nothing.
func hangs(ctx context.Context, _ *eventsv1.Event) error {
	<-ctx.Done()
	return ctx.Err()
}

// doomed is the node of these tests.
type doomed struct {
	// err is what Get fails with.
	err error
}

var _ Node = doomed{}

func (doomed) Name() string { return "node-1" }

func (d doomed) Get(context.Context) (*corev1.Node, error) {
	if d.err != nil {
		return nil, d.err
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "uid-node-1"}}, nil
}

// counted fails the test unless so many Events are counted by outcome.
func counted(t *testing.T, registry *prometheus.Registry, want map[string]float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "ebbtide_events_total" {
		t.Fatalf("the registry has %v, %v; want ebbtide_events_total", families, err)
	}
	got := map[string]float64{}
	for _, metric := range families[0].GetMetric() {
		got[metric.GetLabel()[0].GetValue()] = metric.GetCounter().GetValue()
	}
	for _, outcome := range []string{written, failed, dropped} {
		if got[outcome] != want[outcome] {
			t.Errorf("%v Events are counted as %s, want %v", got[outcome], outcome, want[outcome])
		}
	}
	if len(got) != 3 {
		t.Errorf("the outcomes are %v, want three", got)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("the metric's name and help: %v, %v", problems, err)
	}
}
