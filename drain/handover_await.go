package drain

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Succession says how the wait for a replacement has ended. The values are stable.
type Succession string

// The ends of a wait.
const (
	// Ready: the replacement stands in for the pod, which may go.
	Ready Succession = "Ready"
	// Failed: there will be none in time; the hand-over is to be undone.
	Failed Succession = "Failed"
)

const (
	// settled is how long the replacement must have been available: endpoints
	// travel to every node's proxy, and to load balancers.
	settled = 2 * time.Second
	// countAge is how long a count of pods is believed, and the pause after one
	// that got no answer. It is much less than settled, so that no count is older
	// than the hand-over that it is to confirm.
	countAge = 500 * time.Millisecond
)

var errNotHandedOver = errors.New("it is gone, ending or not handed over")

// Await waits until a pod that is handed over has a replacement that has been
// Ready for its Deployment's minReadySeconds and two seconds more, or until it
// shows that there will be none; why says so then. It fails when ctx ends, and
// when the pod is not handed over. All waits for pods of one Deployment share one
// watch, of the Deployment: while it rolls out, its pods count whichever of its
// ReplicaSets makes them.
func (h *HandOvers) Await(ctx context.Context, ref PodRef) (end Succession, why string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("awaiting the replacement of pod %q: %w", ref, err)
		}
	}()
	if h.client.dryRun != nil {
		return Ready, "", nil // there is none to come
	}
	b, err := h.find(ctx, ref)
	if err != nil {
		return "", "", err
	}
	f := h.follow(ctx, b)
	defer h.unfollow(f)
	return h.wait(ctx, b, f)
}

// find returns the hand-over of a pod, from the pod itself where another has begun it.
func (h *HandOvers) find(ctx context.Context, ref PodRef) (begun, error) {
	h.mu.Lock()
	b, known := h.begun[ref.UID]
	h.mu.Unlock()
	if known {
		return b, nil
	}
	pod, handOver, err := h.handedPod(ctx, ref)
	if err != nil {
		return b, err
	}
	if handOver == nil {
		return b, errNotHandedOver
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return b, errNotHandedOver
	}
	b = begun{*handOver, types.NamespacedName{Namespace: ref.Namespace, Name: owner.Name}, owner.UID}
	h.mu.Lock()
	h.begun[ref.UID] = b
	h.mu.Unlock()
	return b, nil
}

// wait follows the Deployment's count of available pods. The count lags: right
// after the hand-over it still holds the pod itself. So it is believed where it
// was seen too low before; where it was not, the pods are counted.
func (h *HandOvers) wait(ctx context.Context, b begun, f *following) (end Succession, why string, err error) {
	var since time.Time
	seenLow := false
	for {
		deployment, gone, changed := f.look()
		left, now := settled, time.Now()
		switch {
		case gone:
			return Failed, "its Deployment is gone", nil
		case deployment == nil:
		case replicaFailure(deployment) != "":
			return Failed, replicaFailure(deployment), nil
		case deployment.Status.AvailableReplicas < b.needed(deployment):
			since, seenLow = time.Time{}, true
		case since.IsZero():
			since = now
		case now.Sub(since) < settled:
			left = settled - now.Sub(since)
		case seenLow:
			return Ready, "", nil
		default:
			switch count, err := h.countAvailable(ctx, deployment); {
			case err != nil:
				left = countAge
			case count >= b.needed(deployment):
				return Ready, "", nil
			default:
				since = now
			}
		}
		if err := pause(ctx, left, changed); err != nil {
			return "", "", err
		}
	}
}

// countAvailable counts the available pods of a Deployment, once for all who ask.
func (h *HandOvers) countAvailable(ctx context.Context, deployment *appsv1.Deployment) (int32, error) {
	return remember(ctx, h, h.available, string(deployment.UID), countAge, func(ctx context.Context) (int32, error) {
		return h.client.available(ctx, deployment, time.Now())
	})
}

// needed is how many available pods show that the replacement is one of them; no
// more than the Deployment still wants.
func (b *begun) needed(deployment *appsv1.Deployment) int32 {
	return min(b.Available, replicas(deployment))
}

// pause returns when changed is closed or limit is over; it fails when ctx ends.
func pause(ctx context.Context, limit time.Duration, changed <-chan struct{}) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
