package drain

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// undoTries is how often an undo is tried against others who write the pod at the
// same time: a kubelet does so now and then, and never in a loop.
const undoTries = 5

var errContended = errors.New("it was changed each time before it could be written")

// Undo gives a pod back to the ReplicaSet that it was taken from, which then
// deletes the replacement. It says whether it did: a pod that is gone, ending or
// not handed over needs nothing, and one whose ReplicaSet is no longer its
// Deployment's newest stays with the Deployment, since the ReplicaSet would not
// keep it; such a pod should be evicted. One that was handed over for somebody else's
// sake is left as it is; see [RescueNotice]. It works on pods that an earlier agent
// has handed over, and waits for a [HandOvers.Begin] of the same pod that is under
// way. An error with undone says that the pod is back and keeps a deletion cost of
// ours; the next Undo of it, or of its node, gives it back its own. Eight requests,
// more where others write the pod too.
func (h *HandOvers) Undo(ctx context.Context, ref PodRef) (undone bool, err error) {
	owning := h.owning(ref.UID)
	if err := owning.acquire(ctx); err != nil {
		return false, fmt.Errorf("taking back pod %q: %w", ref, err)
	}
	defer owning.release()
	undone, err = h.takeBack(ctx, ref)
	if err != nil {
		return false, err
	}
	h.mu.Lock()
	delete(h.begun, ref.UID)
	// The counts are one too high now; they are read again when they are needed.
	delete(h.handed, ref.Namespace)
	h.mu.Unlock()
	return undone, h.client.restoreCost(ctx, ref)
}

// reversal says what became of an attempt to take a pod back.
type reversal int

const (
	// needless: there is nothing of ours to take back, or it was only rehearsed.
	needless reversal = iota
	// reversed: the pod is its ReplicaSet's again.
	reversed
	// outdated: its ReplicaSet would not keep it.
	outdated
)

// takeBack says whether the pod is its ReplicaSet's again by what it did.
func (h *HandOvers) takeBack(ctx context.Context, ref PodRef) (bool, error) {
	end, err := h.reverse(ctx, ref)
	return end == reversed, err
}

func (h *HandOvers) reverse(ctx context.Context, ref PodRef) (reversal, error) {
	for range undoTries {
		pod, handOver, err := h.handedPod(ctx, ref)
		if err != nil || handOver == nil || (handOver.Notice == RescueNotice) != (h.notice == RescueNotice) {
			return needless, err
		}
		current, err := h.isStillCurrent(ctx, pod, *handOver)
		switch {
		case err != nil:
			return needless, err
		case !current:
			return outdated, nil
		}
		_, err = h.client.changePod(ctx, "taking back", ref, takeBackPatch(pod, *handOver))
		switch {
		case err == nil && h.client.dryRun == nil:
			return reversed, nil
		case err == nil, apierrors.IsNotFound(err):
			return needless, nil
		case !apierrors.IsConflict(err):
			return needless, err
		}
	}
	return needless, fmt.Errorf("taking back pod %q: %w", ref, errContended)
}

// handedPod reads a pod and what it carries; that is nil where there is nothing to
// take back or to wait for.
func (h *HandOvers) handedPod(ctx context.Context, ref PodRef) (*corev1.Pod, *HandOver, error) {
	pod, err := h.client.pod(ctx, ref.Namespace, ref.Name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	case pod.UID != ref.UID, pod.DeletionTimestamp != nil, finished(pod):
		return pod, nil, nil
	}
	handOver, err := HandOverOf(pod)
	return pod, handOver, err
}

// isStillCurrent says whether the ReplicaSet that pod was taken from is there, and
// the newest of the Deployment that owns the pod.
func (h *HandOvers) isStillCurrent(ctx context.Context, pod *corev1.Pod, handOver HandOver) (bool, error) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return false, nil
	}
	deployment, err := h.client.deployment(ctx, pod.Namespace, owner.Name)
	var rs *appsv1.ReplicaSet
	if err == nil {
		rs, err = h.client.replicaSet(ctx, pod.Namespace, handOver.ReplicaSet)
	}
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	}
	return deployment.UID == owner.UID && rs.UID == handOver.ReplicaSetUID && isCurrent(deployment, rs), nil
}
