package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/placement"
)

// Path is where a [Handler] is served.
const Path = "/pods"

// State is what decisions are made by at one moment. It is never changed.
type State struct {
	Policies placement.Policies
	Rules    placement.Rules
	// Capacity is nil while nobody knows the nodes.
	Capacity placement.Capacity
}

// Cluster is what the handler knows of the cluster. Its methods answer from memory:
// they must not block, and may be called by many goroutines.
type Cluster interface {
	// State returns nil until the cluster is known.
	State() *State
	// Namespace returns false for one that is not known.
	Namespace(name string) (placement.Namespace, bool)
}

// Listener hears of decisions that somebody should act on. Hear must not block and
// must not change the pod, of which it only gets what a decision reads.
type Listener interface {
	Hear(pod *corev1.Pod, decision placement.Decision)
}

// Handler answers reviews of pods that are being created. It is safe for concurrent
// use.
//
// A review that cannot be read is answered with an error of HTTP, and not with an
// answer that says so: an answer that does not allow refuses the pod, whatever the
// webhook's failurePolicy says, while a call that fails is ignored as the policy asks.
// What happens after it was read is answered by allowing the pod as it is.
type Handler struct {
	Cluster Cluster
	Metrics *Metrics
	// Listener hears of decisions about pods, and not of those about dry runs: the
	// webhook is registered to have no side effects on those. Nil is nobody.
	Listener Listener
	Log      *slog.Logger
}

var _ http.Handler = (*Handler)(nil)

// ServeHTTP answers one review.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	defer func() { h.Metrics.took(time.Since(began)) }()
	asked, why := h.read(r.Context(), r)
	if why != nil {
		h.refuse(w, r, why)
		return
	}
	body, err := answer(h.review(r.Context(), asked))
	if err != nil {
		h.refuse(w, r, &refusal{Unencodable, http.StatusInternalServerError, err})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// When this fails the API server has gone, and nobody waits for the answer.
	_, _ = w.Write(body)
}

// refusal is why a review gets no answer.
type refusal struct {
	failure Failure
	status  int
	err     error
}

// read reads the request of a review.
func (h *Handler) read(ctx context.Context, r *http.Request) (asked *request, why *refusal) {
	defer func() {
		if cause := recover(); cause != nil {
			h.logPanic(ctx, cause)
			asked, why = nil, &refusal{Panicked, http.StatusInternalServerError, fmt.Errorf("reading a review: %v", cause)}
		}
	}()
	if r.Method != http.MethodPost {
		return nil, &refusal{Unreadable, http.StatusMethodNotAllowed, fmt.Errorf("reading a review: the method is %.16q", r.Method)}
	}
	asked, err := readReview(r.Body)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, &refusal{TooLarge, http.StatusRequestEntityTooLarge, err}
	case err != nil:
		return nil, &refusal{Unreadable, http.StatusBadRequest, err}
	}
	return asked, nil
}

// refuse answers with an error of HTTP.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, why *refusal) {
	h.Metrics.failed(why.failure)
	// Whoever reaches the port can send anything: it is counted, and not worth a line.
	h.Log.LogAttrs(r.Context(), slog.LevelDebug, "Refused review", slog.Any("err", why.err))
	http.Error(w, why.err.Error(), why.status)
}

// review makes the answer to a request. It always allows.
func (h *Handler) review(ctx context.Context, asked *request) (response *admissionv1.AdmissionResponse) {
	defer func() {
		if cause := recover(); cause != nil {
			h.logPanic(ctx, cause)
			response = h.pass(asked.UID, Panicked)
		}
	}()
	if !asked.creates() {
		return h.pass(asked.UID, Unexpected)
	}
	state := h.Cluster.State()
	if state == nil {
		return h.pass(asked.UID, NotReady)
	}
	namespace, known := h.Cluster.Namespace(asked.Namespace)
	if !known {
		// Of its labels the name would be known; but a policy that leaves out namespaces
		// by another label would take its pods.
		return h.pass(asked.UID, UnknownNamespace)
	}
	pod := asked.Object.pod(asked.Namespace)
	decision := placement.Decide(pod, namespace, state.Policies, state.Rules, state.Capacity)
	patch, err := decision.PatchJSON()
	if err != nil {
		h.Log.LogAttrs(ctx, slog.LevelError, "Left pod unplaced", slog.String("namespace", asked.Namespace), slog.Any("err", err))
		return h.pass(asked.UID, Unencodable)
	}
	response = allow(asked.UID)
	if patch != nil {
		response.Patch, response.PatchType = patch, new(admissionv1.PatchTypeJSONPatch)
	}
	h.tell(ctx, asked, pod, decision, response)
	return response
}

// tell counts the decision, and lets those hear of it who should.
func (h *Handler) tell(ctx context.Context, asked *request, pod *corev1.Pod, decision placement.Decision, response *admissionv1.AdmissionResponse) {
	if h.Log.Enabled(ctx, slog.LevelDebug) {
		h.Log.LogAttrs(ctx, slog.LevelDebug, "Decided", slog.String("namespace", pod.Namespace),
			slog.String("pod", pod.Name+pod.GenerateName), slog.String("outcome", string(decision.Outcome)),
			slog.String("reason", string(decision.Reason)), slog.String("policy", decision.Policy))
	}
	dryRun := asked.DryRun != nil && *asked.DryRun
	if !dryRun {
		h.Metrics.decided(decision)
	}
	if !decision.Actionable() {
		return
	}
	// Whoever creates the pod reads it at once, on a dry run too.
	response.Warnings = []string{"ebbtide placement: " + decision.Message()}
	if h.Listener != nil && !dryRun {
		h.Listener.Hear(pod, decision)
	}
}

// pass lets a pod through as it is, and counts why.
func (h *Handler) pass(uid types.UID, why Failure) *admissionv1.AdmissionResponse {
	h.Metrics.failed(why)
	return allow(uid)
}

func allow(uid types.UID) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{UID: uid, Allowed: true}
}

func (h *Handler) logPanic(ctx context.Context, cause any) {
	h.Log.LogAttrs(ctx, slog.LevelError, "Recovered from a panic", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
}
