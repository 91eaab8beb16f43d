package drain

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A pod that is taken back is one too many for its ReplicaSet, which deletes
// another: of those that are equally ready, the one with the lowest deletion cost.
// The pod that was there all the time shall stay, so it is made dear in the patch
// that takes it back. Its author's own cost waits in an annotation beside it, put
// there by the same patch, until the ReplicaSet has chosen.

// dearest is the highest pod-deletion-cost.
const dearest = "2147483647"

const (
	// choiceWait is how long one try waits for a ReplicaSet to delete a pod too
	// many, which takes its controller a few hundredths of a second.
	choiceWait = 2 * time.Second
	// choiceAgain is the pause between two looks.
	choiceAgain = 200 * time.Millisecond
)

var errUndecided = errors.New("its ReplicaSet has not deleted the pod too many so far")

// raiseCost adds to the annotations of a patch what makes pod dear. What an earlier
// one has put aside is the author's cost still, unless the author has set another
// since.
func raiseCost(pod *corev1.Pod, annotations map[string]*string) {
	own := pod.Annotations[corev1.PodDeletionCost]
	if aside, raised := pod.Annotations[DeletionCostAnnotation]; raised && own == dearest {
		own = aside
	}
	cost := dearest
	annotations[corev1.PodDeletionCost], annotations[DeletionCostAnnotation] = &cost, &own
}

// restoreCostPatch gives a pod its own cost back.
func restoreCostPatch(pod *corev1.Pod) podPatch {
	annotations := map[string]*string{DeletionCostAnnotation: nil}
	// Another value than ours was set by somebody since, and is the newer word.
	if pod.Annotations[corev1.PodDeletionCost] == dearest {
		annotations[corev1.PodDeletionCost] = nil
		// The API server takes no empty cost: there was none.
		if own := pod.Annotations[DeletionCostAnnotation]; own != "" {
			annotations[corev1.PodDeletionCost] = &own
		}
	}
	patch := newPodPatch(pod)
	patch.Metadata.Annotations = annotations
	return patch
}

// restoreCost gives a pod that was taken back its own deletion cost, when its
// ReplicaSet has no pod too many any more. It fails when that takes longer than
// choiceWait; somebody may try again then. A pod whose cost is its own, or that is
// handed over, ending or gone, needs nothing. One request where there is nothing to
// do, four or more where there is.
func (c *Client) restoreCost(ctx context.Context, ref PodRef) error {
	for range undoTries {
		pod, err := c.pod(ctx, ref.Namespace, ref.Name)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		case pod.UID != ref.UID, pod.DeletionTimestamp != nil, !isDear(pod):
			return nil
		}
		if err := c.awaitChoice(ctx, pod); err != nil {
			return fmt.Errorf("giving pod %q its deletion cost back: %w", ref, err)
		}
		_, err = c.changePod(ctx, "restoring the deletion cost of", ref, restoreCostPatch(pod))
		if !apierrors.IsConflict(err) {
			return ignoreNotFound(err)
		}
	}
	return fmt.Errorf("giving pod %q its deletion cost back: %w", ref, errContended)
}

// isDear says whether the pod's deletion cost is ours, to be given back. While it is
// handed over its cost means nothing.
func isDear(pod *corev1.Pod) bool {
	_, handed := pod.Labels[HandedOverKey]
	_, dear := pod.Annotations[DeletionCostAnnotation]
	return dear && !handed
}

// awaitChoice returns when the pod's ReplicaSet has no more pods than it wants.
func (c *Client) awaitChoice(ctx context.Context, pod *corev1.Pod) error {
	ctx, cancel := context.WithTimeoutCause(ctx, choiceWait, errUndecided)
	defer cancel()
	for {
		tooMany, err := c.hasTooMany(ctx, pod)
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx) // the time was up in the middle of a request
		case err != nil, !tooMany:
			return err
		}
		if err := pause(ctx, choiceAgain, nil); err != nil {
			return err
		}
	}
}

// hasTooMany says whether the pod's ReplicaSet has more pods than it wants. It
// counts the pods, since the ReplicaSet's own count lags: right after a pod was
// taken back it still lacks it. Two requests.
func (c *Client) hasTooMany(ctx context.Context, pod *corev1.Pod) (bool, error) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "ReplicaSet" {
		return false, nil
	}
	rs, err := c.replicaSet(ctx, pod.Namespace, owner.Name)
	if err != nil || rs.UID != owner.UID {
		return false, ignoreNotFound(err)
	}
	count := int32(0)
	options := metav1.ListOptions{LabelSelector: asSelector(rs.Spec.Selector).String()}
	err = pages(ctx, c, coreGroup, pod.Namespace, "pods", options, func(list *corev1.PodList) {
		for i := range list.Items {
			one := &list.Items[i]
			if metav1.IsControlledBy(one, rs) && one.DeletionTimestamp == nil && !finished(one) {
				count++
			}
		}
	})
	return count > wanted(rs.Spec.Replicas), err
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
