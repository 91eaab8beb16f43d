package drain

import (
	"errors"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Verdict says what an API server's reply to an eviction or a deletion means
// for the pod.
type Verdict string

// The verdicts. Those marked "ask again" carry a delay.
const (
	// Accepted: the pod is being told to stop.
	Accepted Verdict = "Accepted"
	// Gone: no pod of that name is there.
	Gone Verdict = "Gone"
	// OtherPod: the name belongs to another pod now; ours is gone.
	OtherPod Verdict = "OtherPod"
	// BudgetClosed: the disruption budget allows none now; ask again.
	BudgetClosed Verdict = "BudgetClosed"
	// BudgetStale: the budget's controller is a moment behind; ask again soon.
	BudgetStale Verdict = "BudgetStale"
	// BudgetContended: too many writers of one budget, or of one pod that is not
	// ready, at a time; ask again.
	BudgetContended Verdict = "BudgetContended"
	// BudgetNeverOpens: no waiting helps; delete now.
	BudgetNeverOpens Verdict = "BudgetNeverOpens"
	// NamespaceEnding: the namespace takes no evictions any more; delete now.
	NamespaceEnding Verdict = "NamespaceEnding"
	// Denied: a policy, a webhook or a missing permission is in the way; ask
	// again, somebody may mend it.
	Denied Verdict = "Denied"
	// Unauthorized: the token was refused; ask again, with the token read anew.
	Unauthorized Verdict = "Unauthorized"
	// Overloaded: the API server sheds load or is shutting down; ask again.
	Overloaded Verdict = "Overloaded"
	// Unreachable: no reply. The call may have been carried out all the same,
	// which the watch will show; ask again.
	Unreachable Verdict = "Unreachable"
)

// Reply is a verdict with the delay after which to ask again; zero where the
// verdict asks for no other call, or for one at once.
type Reply struct {
	Verdict Verdict
	After   time.Duration
}

const (
	// closedDelay is how often a closed budget is asked: replacements take
	// seconds to become Ready.
	closedDelay = time.Second
	// staleDelay is much less than the ten seconds that the API server
	// suggests: the controller is usually done within one.
	staleDelay = 400 * time.Millisecond
	// contendedDelay lets the evictions that won finish: the API server itself
	// has slept half a second twenty times before it says so.
	contendedDelay = 500 * time.Millisecond
	// deniedDelay is slow enough not to hammer a failing webhook.
	deniedDelay = 2 * time.Second
	// overloadedDelay stands in for a Retry-After; maxOverloaded bounds one,
	// for a drain has no ten seconds to spare.
	overloadedDelay = time.Second
	maxOverloaded   = 5 * time.Second
	// unreachableDelay and unauthorizedDelay are short: such a call costs the
	// API server nothing.
	unreachableDelay  = 500 * time.Millisecond
	unauthorizedDelay = 500 * time.Millisecond
)

// Classify reads the API server's reply to an eviction or deletion of a pod;
// err is nil when it was accepted. The rows follow the eviction handler of
// Kubernetes (pkg/registry/core/pod/storage/eviction.go), which tells many
// things apart by text alone.
func Classify(err error) Reply {
	if err == nil {
		return Reply{Verdict: Accepted}
	}
	var failure apierrors.APIStatus
	if !errors.As(err, &failure) {
		return Reply{Unreachable, unreachableDelay}
	}
	status := failure.Status()
	switch status.Code {
	case http.StatusNotFound:
		return Reply{Verdict: Gone}
	case http.StatusUnauthorized:
		return Reply{Unauthorized, unauthorizedDelay}
	case http.StatusConflict:
		return conflict(status)
	case http.StatusTooManyRequests:
		return tooMany(status)
	case http.StatusForbidden:
		return forbidden(status)
	case http.StatusInternalServerError:
		return internal(status)
	case http.StatusServiceUnavailable:
		return Reply{Overloaded, retryAfter(status)}
	case http.StatusGatewayTimeout, http.StatusBadGateway:
		return timedOut(status)
	default:
		// 422 of a validating admission policy, and whatever is not foreseen.
		return Reply{Denied, deniedDelay}
	}
}

// conflict: only the text tells a UID that is another's (of the eviction handler
// or of the store, which word it differently) from a pod that changed under the
// resourceVersion that the handler pins for pods that are not ready, and from a
// budget's write that lost twenty times.
func conflict(status metav1.Status) Reply {
	for _, otherUID := range []string{"UID in the precondition", "UID in precondition"} {
		if strings.Contains(status.Message, otherUID) {
			return Reply{Verdict: OtherPod}
		}
	}
	return Reply{BudgetContended, contendedDelay}
}

// timedOut: the eviction handler says so of a budget's write that lost twenty
// times. Anybody else who says so does not know what became of the call.
func timedOut(status metav1.Status) Reply {
	if strings.Contains(status.Message, "due to conflicts") {
		return Reply{Overloaded, retryAfter(status)}
	}
	return Reply{Unreachable, overloadedDelay}
}

// tooMany: only a 429 with the cause DisruptionBudget speaks of a budget; any
// other is priority and fairness, or an API server that is shutting down.
func tooMany(status metav1.Status) Reply {
	cause, ofBudget := cause(status, policyv1.DisruptionBudgetCause)
	switch {
	case !ofBudget:
		return Reply{Overloaded, retryAfter(status)}
	case strings.Contains(cause.Message, "failed sync"):
		// The budget's controller cannot count its pods, and will not learn to
		// within our time.
		return Reply{Verdict: BudgetNeverOpens}
	case status.Details.RetryAfterSeconds > 0:
		return Reply{BudgetStale, staleDelay}
	default:
		return Reply{BudgetClosed, closedDelay}
	}
}

func forbidden(status metav1.Status) Reply {
	if _, ending := cause(status, corev1.NamespaceTerminatingCause); ending {
		return Reply{Verdict: NamespaceEnding}
	}
	for _, behind := range []string{"disruptions allowed is negative", "DisruptedPods map too big"} {
		if strings.Contains(status.Message, behind) {
			return Reply{BudgetClosed, closedDelay}
		}
	}
	return Reply{Denied, deniedDelay}
}

// internal: two budgets on one pod come as a 500 without a reason, a webhook
// that cannot be called as a 500 too.
func internal(status metav1.Status) Reply {
	if strings.Contains(status.Message, "more than one PodDisruptionBudget") {
		return Reply{Verdict: BudgetNeverOpens}
	}
	if strings.Contains(status.Message, "failed calling webhook") {
		return Reply{Denied, deniedDelay}
	}
	return Reply{Overloaded, retryAfter(status)}
}

func cause(status metav1.Status, kind metav1.CauseType) (metav1.StatusCause, bool) {
	if status.Details == nil {
		return metav1.StatusCause{}, false
	}
	for _, c := range status.Details.Causes {
		if c.Type == kind {
			return c, true
		}
	}
	return metav1.StatusCause{}, false
}

func retryAfter(status metav1.Status) time.Duration {
	if status.Details == nil || status.Details.RetryAfterSeconds <= 0 {
		return overloadedDelay
	}
	return min(time.Duration(status.Details.RetryAfterSeconds)*time.Second, maxOverloaded)
}
