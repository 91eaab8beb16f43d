package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/placement"
)

const requiredPod = "metadata: {labels: {want: required}}\n"

func TestAPodIsAnsweredAsItIsDecidedAbout(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		pod    string
		change func(*admissionv1.AdmissionRequest)
		count  string
	}{
		"a pod that a policy requires on long-lived nodes": {pod: requiredPod, count: "decisions Required PolicyRequires"},
		"a pod that a policy prefers there":                {pod: "metadata: {labels: {want: preferred}}", count: "decisions Preferred PolicyPrefers"},
		"a pod for which there are nodes enough":           {pod: "metadata: {labels: {want: auto}}", count: "decisions Required EnoughLongLivedNodes"},
		"a pod that no policy matches":                     {pod: "{}", count: "decisions Unchanged NoPolicy"},
		"a pod of a gateway's Deployment":                  {pod: "metadata: {labels: {pod-template-hash: abc}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: ingress-nginx-abc, uid: u, controller: true}]}", count: "decisions Required PolicyRequires"},
		"a pod of a priority class":                        {pod: "spec: {priorityClassName: system-cluster-critical}", count: "decisions Preferred PolicyPrefers"},
		"the pod of a DaemonSet":                           {pod: "metadata: {labels: {want: required}, ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: d, uid: u, controller: true}]}", count: "decisions Unchanged DaemonSetPod"},
		"a pod that names its node":                        {pod: requiredPod + "spec: {nodeName: a}", count: "decisions Unchanged BoundPod"},
		"a pod whose author opted out":                     {pod: "metadata: {labels: {want: required}, annotations: {ebbtide.dev/placement: any}}", count: "decisions Unchanged OptedOut"},
		"a pod that asks for spot":                         {pod: requiredPod + "spec: {nodeSelector: {karpenter.sh/capacity-type: spot}}", count: "decisions Unchanged Contradiction"},
		"a pod with an affinity to pods only":              {pod: requiredPod + "spec: {affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone}}]}}}", count: "decisions Required PolicyRequires"},
		"a pod with terms of its own":                      {pod: requiredPod + "spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}, {}]}}}}", count: "decisions Required PolicyRequires"},
		"a pod with annotations and tolerations":           {pod: "metadata: {labels: {want: required}, annotations: {a: b}}\nspec: {tolerations: [{key: x, operator: Exists}]}", count: "decisions Required PolicyRequires"},
		"a dry run":                                        {pod: requiredPod, change: func(r *admissionv1.AdmissionRequest) { r.DryRun = new(true) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := caseCluster(t)
			handler, registry := newHandler(t, cluster)
			raw := rawPod(t, c.pod)
			request := requestFor(raw, c.change)
			got := ask(t, handler, reviewOf(t, request))
			checkAnswer(t, cluster, request, got)
			want := map[string]float64{}
			if c.count != "" {
				want[c.count] = 1
			}
			if diff := cmp.Diff(want, counts(t, registry)); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		})
	}
}

// checkAnswer holds an answer to what Decide says of the whole pod.
func checkAnswer(t testing.TB, cluster *known, asked *admissionv1.AdmissionRequest, got *admissionv1.AdmissionResponse) {
	t.Helper()
	pod := &corev1.Pod{}
	if err := json.Unmarshal(asked.Object.Raw, pod); err != nil {
		t.Fatalf("the handler answered about what is no pod: %v", err)
	}
	namespace, _ := cluster.Namespace(asked.Namespace)
	state := cluster.State()
	decision := placement.Decide(pod, namespace, state.Policies, state.Rules, state.Capacity)
	want := &admissionv1.AdmissionResponse{UID: asked.UID, Allowed: true}
	patch, err := decision.PatchJSON()
	if err != nil {
		t.Fatal(err)
	}
	if patch != nil {
		want.Patch, want.PatchType = patch, new(admissionv1.PatchTypeJSONPatch)
	}
	if decision.Actionable() {
		want.Warnings = []string{"ebbtide placement: " + decision.Message()}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the answer to pod %s (-Decide +handler):\n%s", asked.Object.Raw, diff)
	}
}

func TestWhatCannotBeDecidedIsLetThroughAndCounted(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		cluster func(*known)
		pod     string
		change  func(*admissionv1.AdmissionRequest)
		want    Failure
	}{
		"before the cluster is known":  {cluster: func(k *known) { k.state = nil }, want: NotReady},
		"in a namespace that is new":   {change: func(r *admissionv1.AdmissionRequest) { r.Namespace = "new" }, want: UnknownNamespace},
		"when there is a mistake":      {cluster: func(k *known) { k.state.Capacity = broken{} }, pod: "metadata: {labels: {want: auto}}", want: Panicked},
		"of a pod that is changed":     {change: func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Update }, want: Unexpected},
		"of a pod's subresource":       {change: func(r *admissionv1.AdmissionRequest) { r.SubResource = "ephemeralcontainers" }, want: Unexpected},
		"of something that is no pod":  {change: func(r *admissionv1.AdmissionRequest) { r.Resource.Resource = "nodes" }, want: Unexpected},
		"of a pod of an other group":   {change: func(r *admissionv1.AdmissionRequest) { r.Resource.Group = "metrics.k8s.io" }, want: Unexpected},
		"of a pod that there is not":   {change: func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Delete; r.Object.Raw = nil }, want: Unexpected},
		"and a dry run is counted too": {cluster: func(k *known) { k.state = nil }, change: func(r *admissionv1.AdmissionRequest) { r.DryRun = new(true) }, want: NotReady},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := caseCluster(t)
			if c.cluster != nil {
				c.cluster(cluster)
			}
			handler, registry := newHandler(t, cluster)
			pod := requiredPod
			if c.pod != "" {
				pod = c.pod
			}
			request := requestFor(rawPod(t, pod), c.change)
			got := ask(t, handler, reviewOf(t, request))
			if diff := cmp.Diff(&admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]float64{"failures " + string(c.want): 1}, counts(t, registry)); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		})
	}
}

// An answer that does not allow refuses the pod; an error of HTTP does not.
func TestWhatCannotBeReadIsAnErrorOfHTTP(t *testing.T) {
	t.Parallel()
	handler, registry := newHandler(t, caseCluster(t))
	good := string(reviewOf(t, requestFor(rawPod(t, requiredPod), nil)))
	cases := map[string]struct {
		body   io.Reader
		status int
	}{
		"nothing":                      {strings.NewReader(""), http.StatusBadRequest},
		"no JSON":                      {strings.NewReader("\x00\xff"), http.StatusBadRequest},
		"another value":                {strings.NewReader("[]"), http.StatusBadRequest},
		"null":                         {strings.NewReader("null"), http.StatusBadRequest},
		"another kind":                 {strings.NewReader(strings.Replace(good, "AdmissionReview", "ConversionReview", 1)), http.StatusBadRequest},
		"another version":              {strings.NewReader(strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1)), http.StatusBadRequest},
		"no request":                   {strings.NewReader(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`), http.StatusBadRequest},
		"no UID":                       {bytes.NewReader(reviewOf(t, requestFor([]byte("{}"), func(r *admissionv1.AdmissionRequest) { r.UID = "" }))), http.StatusBadRequest},
		"a pod that is no pod":         {bytes.NewReader(reviewOf(t, requestFor([]byte(`{"metadata":{"labels":[1]}}`), nil))), http.StatusBadRequest},
		"a review and something after": {strings.NewReader(good + "{}"), http.StatusBadRequest},
		"a connection that breaks":     {iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(good))), http.StatusBadRequest},
		"a body without end":           {endless{}, http.StatusRequestEntityTooLarge},
	}
	for name, c := range cases {
		if status, body := post(t, handler, c.body); status != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, status, c.status, body)
		}
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, Path, http.NoBody))
	if recorder.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", recorder.Code)
	}
	want := map[string]float64{"failures Unreadable": float64(len(cases)), "failures TooLarge": 1}
	if diff := cmp.Diff(want, counts(t, registry)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, strings.Repeat(" ", 4096)), nil }

// panicking is a body whose reading is a mistake.
type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic(errors.New("a mistake")) }

func TestAPanicWhileReadingIsAnErrorOfHTTPToo(t *testing.T) {
	t.Parallel()
	handler, registry := newHandler(t, caseCluster(t))
	if status, body := post(t, handler, panicking{}); status != http.StatusInternalServerError {
		t.Errorf("status %d: %s", status, body)
	}
	if diff := cmp.Diff(map[string]float64{"failures Panicked": 1}, counts(t, registry)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

func TestEverySeriesIsThereFromTheStart(t *testing.T) {
	t.Parallel()
	_, registry := newHandler(t, caseCluster(t))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, family := range families {
		got[family.GetName()] = len(family.GetMetric())
	}
	want := map[string]int{
		"ebbtide_placement_decisions_total":         len(placement.Reasons()),
		"ebbtide_placement_failures_total":          len(failures),
		"ebbtide_placement_review_duration_seconds": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}

func TestTheListenerHearsOfWhatSomebodyShouldActOnAndOfNoDryRun(t *testing.T) {
	t.Parallel()
	cluster := caseCluster(t)
	cluster.state.Capacity = room(1)
	handler, _ := newHandler(t, cluster)
	var listener heard
	handler.Listener = &listener
	for _, c := range []struct {
		pod    string
		dryRun bool
	}{
		{requiredPod, false},
		{"metadata: {labels: {want: auto}}", false},
		{"metadata: {labels: {want: auto}}", true},
		{requiredPod + "spec: {nodeSelector: {lifecycle: spot}}", false},
		{"metadata: {labels: {want: preferred}, annotations: {ebbtide.dev/placement: maybe}}", false},
	} {
		ask(t, handler, reviewOf(t, requestFor(rawPod(t, c.pod), func(r *admissionv1.AdmissionRequest) { r.DryRun = &c.dryRun })))
	}
	want := heard{placement.TooFewLongLivedNodes, placement.Contradiction, placement.PolicyPrefers}
	if diff := cmp.Diff(want, listener); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}

// Reviews are read into buffers that are used again: what was read must not change
// when another review is.
func TestReviewsThatAreReadAtTheSameTimeDoNotMix(t *testing.T) {
	t.Parallel()
	cluster := caseCluster(t)
	handler, _ := newHandler(t, cluster)
	done := make(chan error)
	const clients, each = 8, 50
	for client := range clients {
		go func() {
			want := []string{"required", "preferred", "auto", "none"}[client%4]
			review := reviewOf(t, requestFor(rawPod(t, "metadata: {labels: {want: "+want+"}}"), func(r *admissionv1.AdmissionRequest) {
				r.UID = types.UID(fmt.Sprint(client))
			}))
			var first []byte
			for range each {
				_, body := post(t, handler, bytes.NewReader(review))
				if first == nil {
					first = body
				}
				if !bytes.Equal(first, body) || !bytes.Contains(body, fmt.Appendf(nil, `"uid":"%d"`, client)) {
					done <- fmt.Errorf("client %d was answered %s and %s", client, first, body)
					return
				}
			}
			done <- nil
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
