package drain

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

const (
	// tidyTimeout bounds what is asked for one pod: its ReplicaSet may take choiceWait
	// to choose, and a webhook that hangs in the way of one pod is no reason to leave
	// the others as they are.
	tidyTimeout = 8 * time.Second
	// tidiedAtOnce is how many pods are seen to at a time.
	tidiedAtOnce = 8
)

// tidy takes back what a drain that is over has left on the pods of the node: it gives
// those that are handed over back to their ReplicaSets, if ours says of their hand-over
// that it may, and those that were taken back their own deletion cost, and tells those
// that were told a deadline that there is none any more. A pod whose ReplicaSet would
// not keep it is evicted, within its budget. One request, and some for each pod that
// needs any; it goes on after a failure, and says of how many pods there was one.
func (c *Client) tidy(ctx context.Context, ours func(HandOver) bool) error {
	// All of them: what was put aside of a deletion cost is no label.
	pods, err := c.ownPods(ctx, "")
	if err != nil {
		return err
	}
	failures := make([]error, len(pods))
	eachPod(ctx, pods, failures, func(ctx context.Context, pod *corev1.Pod) error { return c.giveBack(ctx, pod, ours) })
	// After all of them: until then their ReplicaSets have had time to choose.
	eachPod(ctx, pods, failures, func(ctx context.Context, pod *corev1.Pod) error {
		_, handed := pod.Labels[HandedOverKey]
		if handed || isDear(pod) {
			return c.restoreCost(ctx, refOf(pod))
		}
		return nil
	})
	eachPod(ctx, pods, failures, c.withdraw)
	return summary(failures)
}

// eachPod does something for every pod, several at a time, and keeps of each the first
// failure, in the order of the pods.
func eachPod(ctx context.Context, pods []corev1.Pod, failures []error, do func(context.Context, *corev1.Pod) error) {
	places := make(chan struct{}, tidiedAtOnce)
	var all sync.WaitGroup
	for i := range pods {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(ctx, tidyTimeout)
			defer cancel()
			if err := do(ctx, &pods[i]); failures[i] == nil {
				failures[i] = err
			}
		})
	}
	all.Wait()
}

// summary is the first of the failures, and how many more there are; nil for none.
func summary(failures []error) error {
	var first error
	count := 0
	for _, err := range failures {
		if err == nil {
			continue
		}
		if count++; first == nil {
			first = err
		}
	}
	if count > 1 {
		return fmt.Errorf("%w (and %d more pods)", first, count-1)
	}
	return first
}

// ownPods lists the pods of the node that are called name, in whichever namespace;
// empty means all.
func (c *Client) ownPods(ctx context.Context, name string) ([]corev1.Pod, error) {
	selector := fields.OneTermEqualSelector("spec.nodeName", c.name)
	if name != "" {
		selector = fields.AndSelectors(selector, fields.OneTermEqualSelector(metav1.ObjectNameField, name))
	}
	var pods corev1.PodList
	err := c.core.Get().MaxRetries(0).Resource("pods").
		VersionedParams(&metav1.ListOptions{FieldSelector: selector.String()}, parameterCodec).Do(ctx).Into(&pods)
	if err != nil {
		return nil, fmt.Errorf("listing the pods of node %q: %w", c.name, err)
	}
	return pods.Items, nil
}

// Runs says whether a pod of that name, in whichever namespace, is on the node and has
// not finished. One request.
func (c *Client) Runs(ctx context.Context, name string) (bool, error) {
	pods, err := c.ownPods(ctx, name)
	for i := range pods {
		if !finished(&pods[i]) {
			return true, nil
		}
	}
	return false, err
}

// giveBack gives a pod that is handed over back, if that is ours to do.
func (c *Client) giveBack(ctx context.Context, pod *corev1.Pod, ours func(HandOver) bool) error {
	handOver, err := HandOverOf(pod)
	if err != nil || handOver == nil || !ours(*handOver) {
		return nil //nolint:nilerr // the label is somebody else's
	}
	end, err := NewHandOvers(c, handOver.Notice).reverse(ctx, refOf(pod))
	if err != nil || end != outdated {
		return err
	}
	return ignoreNotFound(c.Evict(ctx, refOf(pod), ownGrace(pod)))
}

// withdraw takes back from the pod the moment that [Client.Announce] told it. What its
// author had written there before is not known any more: any value asks. A value that
// somebody else has written since stays.
func (c *Client) withdraw(ctx context.Context, pod *corev1.Pod) error {
	ref := refOf(pod)
	for range undoTries {
		if pod.UID != ref.UID || pod.DeletionTimestamp != nil || !wasTold(pod) {
			return nil
		}
		patch, untold := newPodPatch(pod), ""
		patch.Metadata.Annotations = map[string]*string{DeadlineAnnotation: &untold}
		_, err := c.changePod(ctx, "withdrawing the deadline from", ref, patch)
		if !apierrors.IsConflict(err) {
			return ignoreNotFound(err)
		}
		if pod, err = c.pod(ctx, ref.Namespace, ref.Name); err != nil {
			return ignoreNotFound(err)
		}
	}
	return fmt.Errorf("withdrawing the deadline from pod %q: %w", ref, errContended)
}

// wasTold says whether the pod carries a deadline, and it was an agent that wrote it
// last: of that the API server keeps account.
func wasTold(pod *corev1.Pod) bool {
	if pod.Annotations[DeadlineAnnotation] == "" {
		return false
	}
	for _, entry := range pod.ManagedFields {
		var owned struct {
			Metadata struct {
				Annotations map[string]json.RawMessage `json:"f:annotations"`
			} `json:"f:metadata"`
		}
		if entry.Manager != FieldManager || entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned) != nil {
			continue
		}
		if _, ours := owned.Metadata.Annotations["f:"+DeadlineAnnotation]; ours {
			return true
		}
	}
	return false
}
