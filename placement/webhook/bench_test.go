package webhook

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// largeReview is the review of a pod of about 10 KiB.
func largeReview(t testing.TB) []byte {
	t.Helper()
	pod := placementtest.JSON(t, placementtest.LargePod(t))
	return reviewOf(t, requestFor(pod, func(r *admissionv1.AdmissionRequest) { r.Namespace = "edge" }))
}

// largeCluster has fifty policies, of which the last one in force matches that pod.
func largeCluster(t testing.TB) *known {
	t.Helper()
	cluster := caseCluster(t)
	cluster.state.Policies = compiled(t, placementtest.FiftyPolicies(t)...)
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
