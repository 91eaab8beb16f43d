package audit

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement/status"
)

// FieldManager is the name under which the API server records what the auditor says.
const FieldManager = "ebbtide-auditor"

// maxReadmissions is how many pods are deleted after one audit. The next is a moment
// later, and a mistake should be seen before it is everywhere; but two hundred pods that
// wait together should all run before they have waited for a minute and a half.
const maxReadmissions = 50

// callTimeout bounds one request of [Runner.readmit]. The API server may go on renewing the
// lease while another request hangs, on an admission webhook for one, and meanwhile the
// leader would do nothing else.
const callTimeout = 10 * time.Second

// act does what findings ask for but the rescue. What fails is found again.
func (r *Runner) act(ctx context.Context, found Findings) {
	for i := range found.Policies {
		if finding := &found.Policies[i]; finding.Changed {
			if err := r.say(ctx, finding); err != nil && ctx.Err() == nil {
				r.Log.WarnContext(ctx, "Left status of policy as it was", "policy", finding.Name, "err", err)
			}
		}
	}
	if r.Rendered {
		return
	}
	for _, readmission := range found.Readmit[:min(len(found.Readmit), maxReadmissions)] {
		r.readmit(ctx, readmission)
	}
}

// say writes what was found of a policy.
func (r *Runner) say(ctx context.Context, finding *PolicyFinding) error {
	written, err := status.Write(ctx, r.Dynamic, FieldManager, finding.Name, finding.Status)
	if err == nil && written != nil && finding.Turned {
		r.tellTurn(written, finding)
	}
	return err
}

// tellTurn writes an Event when a policy begins or ceases to be safe. Of one that has
// ceased to be in force nobody knows which it is; its condition Accepted says why.
func (r *Runner) tellTurn(policy *unstructured.Unstructured, finding *PolicyFinding) {
	switch safe := meta.FindStatusCondition(finding.Status.Conditions, v1alpha1.ConditionSafe); safe.Status {
	case metav1.ConditionFalse:
		r.Events.Eventf(policy, nil, corev1.EventTypeWarning, PodsOnSpot, "Audit", "%.900s", safe.Message)
	case metav1.ConditionTrue:
		r.Events.Eventf(policy, nil, corev1.EventTypeNormal, NoPodOnSpot, "Audit", "no pod of the policy runs on a spot node")
	case metav1.ConditionUnknown:
	}
}

// readmit deletes a pod that waits in vain. The resourceVersion is the one that was
// judged: a pod that the scheduler has bound since is another case.
func (r *Runner) readmit(ctx context.Context, readmission Readmission) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pod := readmission.Pod
	err := r.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &pod.UID, ResourceVersion: &pod.ResourceVersion},
	})
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		r.Metrics.readmissions[changed].Inc()
	case errors.Is(err, context.Canceled):
	case err != nil:
		r.Metrics.readmissions[failed].Inc()
		r.Log.WarnContext(ctx, "Left pod waiting", "pod", key(pod), "err", err)
	default:
		r.Metrics.readmissions[deleted].Inc()
		r.Log.InfoContext(ctx, "Deleted pod that waited for a long-lived node", "pod", key(pod), "policy", readmission.Policy, "waited", readmission.Waited)
		r.Events.Eventf(pod, nil, corev1.EventTypeWarning, "Readmitted", "Readmit",
			"found no long-lived node for %.0f s; deleted, so that its controller makes one that may run on any node", readmission.Waited.Seconds())
	}
}
