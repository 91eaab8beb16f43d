package webhook

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// largeReview is the review of a pod of about 10 KiB, and largeCluster has fifty
// policies of which the last one in force matches it.
func largeReview(t testing.TB) []byte {
	t.Helper()
	var environment strings.Builder
	for i := range 60 {
		_, _ = fmt.Fprintf(&environment, "{name: VARIABLE_%d, value: %s}, ", i, strings.Repeat("v", 120))
	}
	pod := podOf(t, `
metadata: {generateName: ingress-nginx-abc-, labels: {app: ingress, pod-template-hash: abc, app.kubernetes.io/name: ingress}, annotations: {example.com/config: x}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: ingress-nginx-abc, uid: u, controller: true}]}
spec:
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}, {matchExpressions: [{key: zone, operator: In, values: [b]}]}]}}}
  containers: [{name: main, image: "example.com/app:1", resources: {requests: {cpu: 100m, memory: 90Mi}}, env: [`+environment.String()+`]}]`)
	if len(pod) < 9<<10 || len(pod) > 12<<10 {
		t.Fatalf("the pod has %d bytes, want about 10 KiB", len(pod))
	}
	return reviewOf(t, requestFor(pod, func(r *admissionv1.AdmissionRequest) { r.Namespace = "edge" }))
}

func largeCluster(t testing.TB) *known {
	t.Helper()
	items := make([]v1alpha1.PlacementPolicy, 0, 50)
	for i := range 49 {
		match := [...]string{
			"namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: team-%d}}",
			"podSelector: {matchLabels: {app: app-%d}}",
			"owners: [{kind: Deployment, name: 'gateway-%d-*'}, {kind: StatefulSet, name: 'queue-*'}]",
			"priorityClassNames: [class-%d]",
		}[i%4]
		items = append(items, policyOf(t, fmt.Sprintf("policy-%d", i), fmt.Sprintf("{priority: %d, mode: Required, match: {"+match+"}}", i, i)))
	}
	items = append(items, policyOf(t, "last", "{priority: -1, match: {owners: [{kind: Deployment, name: ingress-*}]}}"))
	cluster := caseCluster(t)
	cluster.state.Policies = compiled(t, items...)
	return cluster
}

// unread is a ResponseWriter that costs nothing: what it would cost is the server's.
type unread struct {
	header http.Header
	status int
	size   int
}

func (u *unread) Header() http.Header { return u.header }
func (u *unread) WriteHeader(s int)   { u.status = s }
func (u *unread) Write(p []byte) (int, error) {
	u.size += len(p)
	return len(p), nil
}

// serving returns a function that serves one review, and what it answered last.
func serving(t testing.TB) (serve func(), last *unread) {
	t.Helper()
	handler, _ := newHandler(t, largeCluster(t))
	review := largeReview(t)
	body := bytes.NewReader(review)
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, body)
	last = &unread{header: http.Header{}}
	return func() {
		body.Reset(review)
		last.status, last.size = http.StatusOK, 0
		handler.ServeHTTP(last, request)
	}, last
}

// maxAllocations is what one answer may take.
const maxAllocations = 200

func BenchmarkHandler(b *testing.B) {
	serve, last := serving(b)
	b.ReportAllocs()
	for b.Loop() {
		serve()
	}
	if last.status != http.StatusOK || last.size < 1000 {
		b.Fatalf("status %d, %d bytes", last.status, last.size)
	}
}

func TestAnAnswerIsCheap(t *testing.T) {
	cluster := largeCluster(t)
	handler, registry := newHandler(t, cluster)
	if got := ask(t, handler, largeReview(t)); got.Patch == nil {
		t.Fatal("nothing was patched")
	}
	if counts(t, registry)["decisions Required EnoughLongLivedNodes"] != 1 {
		t.Fatalf("counted %v", counts(t, registry))
	}
	serve, _ := serving(t)
	if allocations := testing.AllocsPerRun(100, serve); allocations > maxAllocations {
		t.Errorf("%v allocations, want %d at most", allocations, maxAllocations)
	}
}
