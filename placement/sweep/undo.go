package sweep

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/drain"
)

const (
	// undoWithin bounds what is asked about one node. To give a pod back takes three
	// requests, and up to two seconds until its ReplicaSet has chosen.
	undoWithin = time.Minute
	// tidyTries is how often the pods of a node are seen to, tidyPause the time between.
	// The state is off the node by then, and of a pod that is its ReplicaSet's again and
	// keeps a deletion cost of ours nothing else would tell.
	tidyTries = 3
	tidyPause = 2 * time.Second
)

// Outcome is what became of a leftover. The values are stable: they are metric labels.
type Outcome string

// The outcomes.
const (
	// Swept: it was taken back.
	Swept Outcome = "Swept"
	// Changed: it is somebody's by now, and was left as it is.
	Changed Outcome = "Changed"
	// Failed: the API server refused what was asked, or did not answer.
	Failed Outcome = "Failed"
)

// Undoer takes back what is left. It needs to get and patch nodes; to list, get and
// patch pods and to create evictions of them; and to get ReplicaSets and Deployments.
type Undoer struct {
	Config *rest.Config
	Client kubernetes.Interface
}

// Undo takes back what is left on one node. may is asked about the state that the node
// carries in that moment, so that a drain which has begun since is never hit. An error
// comes with [Failed]: some of it may be taken back, and the rest found again.
func (u Undoer) Undo(ctx context.Context, left Leftover, may func(drain.State) bool) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, undoWithin)
	defer cancel()
	outcome, err := Failed, left.Err
	switch {
	case err != nil:
	case left.Node == nil:
		outcome, err = u.finish(ctx, left)
	default:
		outcome, err = u.undo(ctx, left, may)
	}
	if err != nil {
		return Failed, fmt.Errorf("sweeping node %q: %w", left.Name, err)
	}
	return outcome, nil
}

func (u Undoer) undo(ctx context.Context, left Leftover, may func(drain.State) bool) (Outcome, error) {
	client, err := drain.NewClient(u.Config, left.Name)
	if err != nil {
		return Failed, err
	}
	for try := 1; ; try++ {
		undone, err := client.Undo(ctx, may)
		switch {
		case err == nil && undone:
			return Swept, nil
		case err == nil:
			return Changed, nil
		case !undone || try == tidyTries:
			return Failed, err
		}
		select {
		case <-ctx.Done():
			return Failed, err
		case <-time.After(tidyPause):
		}
	}
}

// finish evicts pods whose node does not exist, which nobody can give back: their
// ReplicaSet would count on them. What it cannot evict the API server's garbage
// collector of pods deletes.
func (u Undoer) finish(ctx context.Context, left Leftover) (Outcome, error) {
	// One that has just come may be known later than its pods.
	switch _, err := u.Client.CoreV1().Nodes().Get(ctx, left.Name, metav1.GetOptions{}); {
	case err == nil:
		return Changed, nil
	case !apierrors.IsNotFound(err):
		return Failed, err
	}
	var errs []error
	for _, pod := range left.Handed {
		err := u.Client.CoreV1().Pods(pod.Namespace).EvictV1(ctx, &policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}},
		})
		// That it is gone, or another pod of the name is there, is well.
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("evicting pod %q: %w", key(pod), err))
		}
	}
	return Swept, errors.Join(errs...)
}

func key(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }
