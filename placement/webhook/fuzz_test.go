package webhook

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// seedPods are pods of every shape that the handler tells apart, and some that are none.
var seedPods = []string{
	`{}`, `null`, `[]`, `7`,
	`{"metadata":{"labels":{"want":"required"}}}`,
	`{"metadata":{"labels":{"want":"preferred"},"annotations":{"ebbtide.dev/placement-decision":"\u0000"}}}`,
	`{"metadata":{"labels":{"want":"auto"}},"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"1e400"}}}]}}`,
	`{"metadata":{"labels":{"want":"auto"}},"spec":{"affinity":{"podAffinity":{}},"tolerations":[{}],"overhead":{"cpu":"1m"}}}`,
	`{"metadata":{"labels":{"want":"required"}},"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":null}}}}}`,
	`{"metadata":{"labels":{"want":"required"}},"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{}]},{"matchFields":[{}]},{}]}}}}}`,
	`{"metadata":{"ownerReferences":[{"kind":"ReplicaSet","name":"ingress-x","controller":true}],"labels":{"pod-template-hash":"x"}},"spec":{"initContainers":[{"restartPolicy":"Always"}]}}`,
	`{"metadata":{"annotations":{"ebbtide.dev/placement":"maybe"}},"spec":{"nodeSelector":{"lifecycle":"spot"},"priorityClassName":"system-cluster-critical"}}`,
}

// check sends a body to the handler. Whatever it is, the answer is an error of HTTP or
// allows the pod. It returns the answer, nil for an error of HTTP.
func check(t testing.TB, handler http.Handler, body []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	status, answered := post(t, handler, bytes.NewReader(body))
	if status != http.StatusOK {
		if status != http.StatusBadRequest && status != http.StatusRequestEntityTooLarge {
			t.Fatalf("status %d: %s", status, answered)
		}
		return nil
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(answered, &review); err != nil {
		t.Fatalf("the answer is no review: %v\n%s", err, answered)
	}
	if review.Response == nil || !review.Response.Allowed || review.Response.UID == "" {
		t.Fatalf("the pod is not let through: %s", answered)
	}
	if review.Response.Patch != nil {
		if _, err := jsonpatch.DecodePatch(review.Response.Patch); err != nil {
			t.Fatalf("the patch is none: %v\n%s", err, review.Response.Patch)
		}
	}
	return review.Response
}

// checkPatched holds an answer with a patch to what the whole pod would have got, and
// wants the patch to apply. It is not for bodies that give a field twice, which no API
// server writes: there the last one counts in a whole pod, and here they add up.
func checkPatched(t testing.TB, cluster *known, body []byte, response *admissionv1.AdmissionResponse) {
	t.Helper()
	var asked admissionv1.AdmissionReview
	pod := &corev1.Pod{}
	if json.Unmarshal(body, &asked) != nil || json.Unmarshal(asked.Request.Object.Raw, pod) != nil {
		return // a field that the handler does not read is of the wrong type
	}
	checkAnswer(t, cluster, asked.Request, response)
	patch, err := jsonpatch.DecodePatch(response.Patch)
	if err != nil {
		t.Fatal(err)
	}
	// As the API server writes it: without fields that are empty.
	if _, err := patch.Apply(placementtest.JSON(t, pod)); err != nil {
		t.Fatalf("the patch does not apply: %v\n%s\n%s", err, response.Patch, asked.Request.Object.Raw)
	}
}

func FuzzReview(f *testing.F) {
	for _, pod := range seedPods {
		f.Add([]byte(strings.Replace(string(reviewOf(f, requestFor([]byte(`{}`), nil))), `"object":{}`, `"object":`+pod, 1)))
	}
	f.Add([]byte{})
	f.Add([]byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}`))
	cluster := caseCluster(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		handler, _ := newHandler(t, cluster)
		check(t, handler, body)
	})
}

// Most bytes that a fuzzer makes are no review at all: here each input is the pod of one.
func FuzzPod(f *testing.F) {
	for _, pod := range seedPods {
		f.Add([]byte(pod))
	}
	cluster := caseCluster(f)
	f.Fuzz(func(t *testing.T, document []byte) {
		_, stored, is := placementtest.StoredPod(document)
		if !is {
			return
		}
		handler, _ := newHandler(t, cluster)
		request := requestFor(stored, nil)
		checkAnswer(t, cluster, request, ask(t, handler, reviewOf(t, request)))
	})
}

func TestAReviewThatEndsAnywhereIsLetThrough(t *testing.T) {
	t.Parallel()
	cluster := caseCluster(t)
	handler, _ := newHandler(t, cluster)
	whole := reviewOf(t, requestFor([]byte(seedPods[9]), nil))
	for end := range whole {
		if status, body := post(t, handler, bytes.NewReader(whole[:end])); status != http.StatusBadRequest {
			t.Fatalf("of %d bytes of a review: status %d: %s", end, status, body)
		}
	}
	if check(t, handler, whole) == nil {
		t.Error("the whole of it is refused")
	}
}

// Ten thousand reviews in which some bytes are others.
func TestAReviewWithWrongBytesIsLetThrough(t *testing.T) {
	t.Parallel()
	cluster := caseCluster(t)
	handler, _ := newHandler(t, cluster)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same bytes each time, so that a failure is found again
	const wrong = "\x00\x1f\x7f\x80\xff \"\\/0aZ{}[]:,"
	patched := 0
	for i := range 10_000 {
		body := reviewOf(t, requestFor([]byte(seedPods[4+i%(len(seedPods)-4)]), nil))
		for range 1 + random.IntN(4) {
			body[random.IntN(len(body))] = wrong[random.IntN(len(wrong))]
		}
		if response := check(t, handler, body); response != nil && response.Patch != nil {
			checkPatched(t, cluster, body, response)
			patched++
		}
	}
	if patched < 100 {
		t.Errorf("%d reviews were answered with a patch: too few to say anything", patched)
	}
}

func TestAPodOfFiveMebibytesIsAnsweredAndOneOfTenIsNot(t *testing.T) {
	t.Parallel()
	cluster := caseCluster(t)
	handler, registry := newHandler(t, cluster)
	for size, want := range map[int]int{5 << 20: http.StatusOK, 10 << 20: http.StatusRequestEntityTooLarge} {
		pod := rawPod(t, "metadata: {labels: {want: required}, annotations: {a: "+strings.Repeat("x", 200<<10)+"}}\nspec: {containers: [{name: a, command: ["+strings.Repeat("y", size)+"]}]}")
		if status, _ := post(t, handler, bytes.NewReader(reviewOf(t, requestFor(pod, nil)))); status != want {
			t.Errorf("a pod of %d MiB: status %d, want %d", size>>20, status, want)
		}
	}
	if got := counts(t, registry); got["decisions Required PolicyRequires"] != 1 || got["failures TooLarge"] != 1 {
		t.Errorf("counted %v", got)
	}
}
