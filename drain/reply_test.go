package drain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The replies below are built as the API server of Kubernetes 1.37 builds them:
// pkg/registry/core/pod/storage/eviction.go for evictions,
// apiserver/pkg/registry/rest/delete.go for preconditions. Its texts count.

func ofBudget(status *apierrors.StatusError, message string) error {
	status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes,
		metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: message})
	return status
}

const wouldViolate = "Cannot evict pod as it would violate the pod's disruption budget."

func budgetClosed() error {
	return ofBudget(apierrors.NewTooManyRequests(wouldViolate, 0),
		"The disruption budget web needs 3 healthy pods and has 3 currently")
}

func budgetStale() error {
	return ofBudget(apierrors.NewTooManyRequests(wouldViolate, 10),
		"The disruption budget web is still being processed by the server.")
}

func budgetFailedSync() error {
	return ofBudget(apierrors.NewTooManyRequests(wouldViolate, 0),
		"The disruption budget web does not allow evicting pods currently because it failed sync: found no controllers for pod \"web-a\"")
}

func budgetContended() error {
	return apierrors.NewConflict(schema.GroupResource{Group: "policy", Resource: "poddisruptionbudgets"}, "web",
		errors.New("the object has been modified; please apply your changes to the latest version and try again"))
}

func budgetForbids(why, message string) error {
	return ofBudget(
		apierrors.NewForbidden(schema.GroupResource{Group: "policy", Resource: "poddisruptionbudget"}, "web", errors.New(why)),
		"The disruption budget web does not allow evicting pods currently: "+message)
}

// twoBudgets has a code and a text, and no reason: the handler returns it as a
// status and not as an error.
func twoBudgets() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusInternalServerError,
		Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
	}}
}

func podConflict(kind, text string) error {
	return apierrors.NewConflict(schema.GroupResource{Resource: kind}, "web-a", errors.New(text))
}

func otherUID() error {
	return podConflict("Pod", "the UID in the precondition (uid-1) does not match the UID in record (uid-2). "+
		"The object might have been deleted and then recreated")
}

func noPod() error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "web-a")
}

func namespaceEnding() error {
	err := apierrors.NewForbidden(schema.GroupResource{Resource: "pods/eviction"}, "web-a",
		errors.New("unable to create new content in namespace shop because it is being terminated"))
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: corev1.NamespaceTerminatingCause, Message: "namespace shop is being terminated", Field: "metadata.namespace",
	}}
	return err
}

func deniedByPolicy() error {
	return apierrors.NewInvalid(schema.GroupKind{Group: "policy", Kind: "Eviction"}, "web-a", field.ErrorList{
		field.Invalid(nil, nil, "ValidatingAdmissionPolicy 'freeze' with binding 'freeze' denied request: no evictions today"),
	})
}

func deniedByWebhook(code int32) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: "no",
		Message: `admission webhook "guard.example.com" denied the request: no`,
	}}
}

func webhookUnreachable() error {
	return apierrors.NewInternalError(errors.New(
		`failed calling webhook "guard.example.com": failed to call webhook: Post "https://guard.example.svc:443/": context deadline exceeded`))
}

func forbiddenByRBAC() error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web-a",
		errors.New(`User "agent" cannot create resource "pods/eviction" in API group "" in the namespace "shop"`))
}

// plainText is a reply that no handler of the API itself has written, as the
// client presents it.
func plainText(code, retryAfter int, text string) error {
	return apierrors.NewGenericServerResponse(code, "POST", schema.GroupResource{Resource: "pods"}, "web-a", text, retryAfter, true)
}

func TestEachReplyOfTheAPIServerHasItsMeaning(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	cases := map[string]struct {
		err  error
		want Reply
	}{
		"201: the pod is told":                                 {nil, Reply{Accepted, 0}},
		"404: the pod is gone":                                 {noPod(), Reply{Gone, 0}},
		"409 on the UID: the name is another pod's now":        {otherUID(), Reply{OtherPod, 0}},
		"409 on the UID, from the store: the same":             {podConflict("pods", "Precondition failed: UID in precondition: uid-1, UID in object meta: uid-2"), Reply{OtherPod, 0}},
		"409 on the resourceVersion: our pod, which changed":   {podConflict("Pod", "the ResourceVersion in the precondition (7) does not match the ResourceVersion in record (8). The object might have been modified"), Reply{BudgetContended, 500 * ms}},
		"409 on the pod's write: our pod, which changed":       {podConflict("pods", "the object has been modified; please apply your changes to the latest version and try again"), Reply{BudgetContended, 500 * ms}},
		"409 on the budget: too many evictions at a time":      {budgetContended(), Reply{BudgetContended, 500 * ms}},
		"429 of a budget that is used up":                      {budgetClosed(), Reply{BudgetClosed, time.Second}},
		"429 of a budget that its controller has not seen yet": {budgetStale(), Reply{BudgetStale, 400 * ms}},
		"429 of a budget that failed sync":                     {budgetFailedSync(), Reply{BudgetNeverOpens, 0}},
		"429 of priority and fairness":                         {plainText(429, 1, "Too many requests, please try again later."), Reply{Overloaded, time.Second}},
		"429 that asks for more time than there is":            {plainText(429, 60, "Too many requests, please try again later."), Reply{Overloaded, 5 * time.Second}},
		"429 that asks for no time":                            {plainText(429, 0, "Too many requests, please try again later."), Reply{Overloaded, time.Second}},
		"500 of two budgets on one pod":                        {twoBudgets(), Reply{BudgetNeverOpens, 0}},
		"500 of a webhook that cannot be called":               {webhookUnreachable(), Reply{Denied, 2 * time.Second}},
		"500 of an API server in trouble":                      {apierrors.NewInternalError(errors.New("etcdserver: no leader")), Reply{Overloaded, time.Second}},
		"502 of a load balancer before the API server":         {plainText(502, 0, "bad gateway"), Reply{Unreachable, time.Second}},
		"503 of an API server that is shutting down":           {apierrors.NewServiceUnavailable("apiserver is shutting down"), Reply{Overloaded, time.Second}},
		"504 of a budget's write that timed out":               {apierrors.NewTimeoutError("couldn't update PodDisruptionBudget \"web\" due to conflicts", 10), Reply{Overloaded, 5 * time.Second}},
		"403 of a namespace that is ending":                    {namespaceEnding(), Reply{NamespaceEnding, 0}},
		"403 of a budget that is overdrawn":                    {budgetForbids("pdb disruptions allowed is negative", "pdb disruptions allowed is negative"), Reply{BudgetClosed, time.Second}},
		"403 of a budget whose controller is far behind":       {budgetForbids("DisruptedPods map too big - too many evictions not confirmed by PDB controller", "too many pending evictions not confirmed by PDB controller"), Reply{BudgetClosed, time.Second}},
		"403 of RBAC":      {forbiddenByRBAC(), Reply{Denied, 2 * time.Second}},
		"403 of a webhook": {deniedByWebhook(403), Reply{Denied, 2 * time.Second}},
		"400 of a webhook with a code of its own": {deniedByWebhook(400), Reply{Denied, 2 * time.Second}},
		"422 of an admission policy":              {deniedByPolicy(), Reply{Denied, 2 * time.Second}},
		"401: the token was refused":              {apierrors.NewUnauthorized("Unauthorized"), Reply{Unauthorized, 500 * ms}},
		"no reply within the call's time":         {&url.Error{Op: "Post", URL: "https://127.0.0.1", Err: context.DeadlineExceeded}, Reply{Unreachable, 500 * ms}},
		"no connection":                           {errors.New("dial tcp 127.0.0.1:6443: connect: connection refused"), Reply{Unreachable, 500 * ms}},
		"409 without details":                     {&apierrors.StatusError{ErrStatus: metav1.Status{Code: 409}}, Reply{BudgetContended, 500 * ms}},
		"403 without details":                     {&apierrors.StatusError{ErrStatus: metav1.Status{Code: 403}}, Reply{Denied, 2 * time.Second}},
		"429 without details":                     {&apierrors.StatusError{ErrStatus: metav1.Status{Code: 429}}, Reply{Overloaded, time.Second}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Classify(c.err); got != c.want {
				t.Errorf("read as %+v, want %+v", got, c.want)
			}
			if c.err == nil {
				return
			}
			wrapped := fmt.Errorf("evicting pod %q: %w", "shop/web-a", c.err)
			if got := Classify(wrapped); got != c.want {
				t.Errorf("read as %+v once it is wrapped, want %+v", got, c.want)
			}
		})
	}
}
