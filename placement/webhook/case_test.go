package webhook

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// known is a Cluster that never changes.
type known struct {
	state      *State
	namespaces map[string]placement.Namespace
}

func (k *known) State() *State { return k.state }

func (k *known) Namespace(name string) (placement.Namespace, bool) {
	namespace, found := k.namespaces[name]
	return namespace, found
}

// room is a Capacity of so many long-lived nodes for every pod.
type room int

func (r room) LongLivedNodes(*corev1.Pod, int) int { return int(r) }
func (room) LatelyPending(*corev1.Pod) bool        { return false }

// broken is a Capacity with a mistake in it.
type broken struct{ room }

func (broken) LongLivedNodes(*corev1.Pod, int) int { panic("a mistake") }

// heard is a Listener that remembers.
type heard []placement.Reason

func (h *heard) Hear(_ *corev1.Pod, decision placement.Decision) { *h = append(*h, decision.Reason) }

func compiled(t testing.TB, items ...v1alpha1.PlacementPolicy) placement.Policies {
	t.Helper()
	policies, rejections := placement.Compile(items)
	if len(rejections) > 0 {
		t.Fatalf("compiling policies: %v", rejections)
	}
	return policies
}

// casePolicies have one policy of each mode; a pod says by its label "want" which is its.
func casePolicies(t testing.TB) placement.Policies {
	t.Helper()
	return compiled(t,
		placementtest.Policy(t, "required", `{match: {podSelector: {matchLabels: {want: required}}}, mode: Required, tolerations: [{key: dedicated, value: critical}]}`),
		placementtest.Policy(t, "preferred", `{match: {podSelector: {matchLabels: {want: preferred}}}, mode: Preferred}`),
		placementtest.Policy(t, "auto", `{match: {podSelector: {matchLabels: {want: auto}}}}`),
		placementtest.Policy(t, "gateways", `{priority: 10, match: {owners: [{kind: Deployment, name: "ingress-*"}]}, mode: Required}`),
		placementtest.Policy(t, "critical", `{priority: -1, match: {priorityClassNames: [system-cluster-critical]}, mode: Preferred}`),
	)
}

// caseCluster has the namespaces default and edge.
func caseCluster(t testing.TB) *known {
	t.Helper()
	namespaces := map[string]placement.Namespace{}
	for _, name := range []string{metav1.NamespaceDefault, "edge"} {
		namespaces[name] = placement.Namespace{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}}
	}
	return &known{state: &State{Policies: casePolicies(t), Capacity: room(2)}, namespaces: namespaces}
}

// newHandler returns a handler and the registry of its metrics.
func newHandler(t testing.TB, cluster Cluster) (*Handler, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	return &Handler{Cluster: cluster, Metrics: NewMetrics(registry), Log: slog.New(slog.DiscardHandler)}, registry
}

// requestFor is the request that the API server sends about a pod; change may be nil.
func requestFor(raw []byte, change func(*admissionv1.AdmissionRequest)) *admissionv1.AdmissionRequest {
	request := &admissionv1.AdmissionRequest{
		UID:      "705ab4f5-6393-11e8-b7cc-42010a800002",
		Kind:     metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"}, RequestKind: &metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
		Namespace: metav1.NamespaceDefault, Operation: admissionv1.Create, DryRun: new(false),
		Object:  runtime.RawExtension{Raw: raw},
		Options: runtime.RawExtension{Raw: []byte(`{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}`)},
	}
	if change != nil {
		change(request)
	}
	return request
}

func reviewOf(t testing.TB, request *admissionv1.AdmissionRequest) []byte {
	t.Helper()
	return placementtest.JSON(t, &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
}

// post sends a body to the handler, and returns the status and what was answered.
func post(t testing.TB, handler http.Handler, body io.Reader) (int, []byte) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, body))
	return recorder.Code, recorder.Body.Bytes()
}

// ask sends a review that has to be answered, and returns the answer.
func ask(t testing.TB, handler http.Handler, review []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	status, body := post(t, handler, strings.NewReader(string(review)))
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	var answered admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &answered); err != nil {
		t.Fatal(err)
	}
	if answered.Kind != "AdmissionReview" || answered.APIVersion != "admission.k8s.io/v1" || answered.Response == nil {
		t.Fatalf("the answer is no review: %s", body)
	}
	return answered.Response
}

// counts are the series of a registry that are not at zero, as "name{labels}" without
// the names of the labels. Histograms are left out.
func counts(t testing.TB, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if value := metric.GetCounter().GetValue(); value > 0 {
				name := strings.TrimSuffix(strings.TrimPrefix(family.GetName(), "ebbtide_placement_"), "_total")
				for _, label := range metric.GetLabel() {
					name += " " + label.GetValue()
				}
				found[name] = value
			}
		}
	}
	return found
}

// rawPod is a pod in the JSON of a review.
func rawPod(t testing.TB, text string) []byte {
	t.Helper()
	return placementtest.JSON(t, placementtest.Pod(t, text))
}
