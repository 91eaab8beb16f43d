package drain

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// allVerdicts are the verdicts that Classify may return.
var allVerdicts = []Verdict{
	Accepted, Gone, OtherPod, BudgetClosed, BudgetStale, BudgetContended, BudgetNeverOpens, NamespaceEnding, Denied,
	Unauthorized, Overloaded, Unreachable,
}

// Whatever answers in the API server's place, its reply has a meaning that a drain
// can go by: no refusal is taken for a yes, and none leads to a call in a loop or to
// a pause that costs more than it brings.
func FuzzClassify(f *testing.F) {
	for _, seed := range []error{
		budgetClosed(), budgetStale(), budgetFailedSync(), budgetContended(), twoBudgets(), otherUID(), noPod(), namespaceEnding(),
		deniedByPolicy(), deniedByWebhook(http.StatusTeapot), webhookUnreachable(), forbiddenByRBAC(), plainText(http.StatusBadGateway, 3, "<html>"),
	} {
		status := statusOf(f, seed)
		f.Add(status.Code, status.Message, detail(status, 0), detail(status, 1), retryAfterOf(status))
	}
	f.Fuzz(func(t *testing.T, code int32, message, cause, text string, retryAfter int32) {
		err := &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: code, Message: message,
			Details: &metav1.StatusDetails{
				Causes:            []metav1.StatusCause{{Type: metav1.CauseType(cause), Message: text}},
				RetryAfterSeconds: retryAfter,
			},
		}}
		got := Classify(err)
		if got.Verdict == Accepted || !slices.Contains(allVerdicts, got.Verdict) {
			t.Fatalf("%+v is %q", err.ErrStatus, got.Verdict)
		}
		if got.After < 0 || got.After > maxOverloaded {
			t.Errorf("%+v asks to wait for %v", err.ErrStatus, got.After)
		}
		// After these nothing is asked, or a deletion, which no budget can refuse.
		final := []Verdict{Gone, OtherPod, BudgetNeverOpens, NamespaceEnding}
		if ends := slices.Contains(final, got.Verdict); ends != (got.After == 0) {
			t.Errorf("%q is followed by a pause of %v", got.Verdict, got.After)
		}
		bare := &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Message: message}}
		if got := Classify(bare); got.Verdict == Accepted || got.Verdict == BudgetClosed && code == http.StatusTooManyRequests {
			t.Errorf("a reply of %d without details is %q", code, got.Verdict)
		}
		// As the client presents what is no Status at all.
		generic := apierrors.NewGenericServerResponse(int(code), "POST", schema.GroupResource{Resource: "pods"}, "p", message, int(retryAfter), true)
		if got := Classify(generic); got.Verdict == Accepted {
			t.Errorf("an answer of %d that is no Status is %q", code, got.Verdict)
		}
	})
}

func statusOf(f *testing.F, err error) metav1.Status {
	f.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		f.Fatalf("%v is no status", err)
	}
	return status.Status()
}

// detail is the type and the message of a status' first cause, if it has any.
func detail(status metav1.Status, part int) string {
	if status.Details == nil || len(status.Details.Causes) == 0 {
		return ""
	}
	cause := status.Details.Causes[0]
	return []string{string(cause.Type), cause.Message}[part]
}

func retryAfterOf(status metav1.Status) int32 {
	if status.Details == nil {
		return 0
	}
	return status.Details.RetryAfterSeconds
}

// Whatever pods an API server may hold, and however much time is left: each of them
// is moved or skipped, once, and no move says what no drain may do.
func FuzzPlan(f *testing.F) {
	for _, seed := range [][]*corev1.Pod{
		{newPod("web"), newPod("db", statefulSet, claim, grace(60)), newPod("static", mirror)},
		{newPod("long", grace(1<<62)), newPod("none", grace(0)), newPod("less", grace(-7))},
		{newPod("a"), newPod("a", namespace("b")), newPod("b", uid("uid-a"))},
		{newPod("old", terminating), newPod("job", phaseOf(corev1.PodSucceeded)), newPod("daemon", daemonSet, toleratesAll)},
		{},
	} {
		text, err := json.Marshal(podList(seed...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, int64(2*time.Minute), int64(12*time.Second), true)
		f.Add(text, int64(-time.Hour), int64(0), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, left, detach int64, daemons bool) {
		var pods []corev1.Pod
		if json.Unmarshal(text, &pods) != nil {
			return // not a list of pods
		}
		notice := time.Duration(left) % (100 * time.Hour)
		policy := Policy{DaemonSets: daemons, VolumeDetach: (time.Duration(detach) % time.Hour).Abs()}
		budget := NewBudget(noon.Add(notice), noon)
		plan := NewPlan("n", pods, budget, policy)
		checkPlan(t, plan, pods, budget)
	})
}

// checkPlan holds a plan to the pods that it was made of.
func checkPlan(t *testing.T, plan Plan, pods []corev1.Pod, budget Budget) {
	t.Helper()
	wanted := map[PodRef]int{}
	for i := range pods {
		wanted[refOf(&pods[i])]++
	}
	for i, move := range plan.Moves {
		wanted[move.PodRef]--
		if i > 0 && before(plan.Moves[i-1], move) > 0 {
			t.Errorf("pod %q comes after %q", move.PodRef, plan.Moves[i-1].PodRef)
		}
		own := move.Grace()
		if own < time.Second || own > maxGrace {
			t.Errorf("pod %q has a grace of %v of its own", move.PodRef, own)
		}
		for _, now := range []time.Time{noon, move.ForceAt, budget.Deadline} {
			if given := budget.Grace(own, move.Detach(), now); given < time.Second || given > own {
				t.Errorf("pod %q of grace %v is given %v", move.PodRef, own, given)
			}
		}
		if move.NotBefore.After(move.ForceAt) {
			t.Errorf("pod %q waits until %v, past its latest moment %v", move.PodRef, move.NotBefore, move.ForceAt)
		}
	}
	for _, skip := range plan.Skips {
		wanted[skip.PodRef]--
		if skip.Reason == "" {
			t.Errorf("pod %q is skipped for no reason", skip.PodRef)
		}
	}
	for ref, n := range wanted {
		if n != 0 {
			t.Errorf("pod %q is in the plan %d times less than on the node", ref, n)
		}
	}
}
