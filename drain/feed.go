package drain

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Change is something that happened to one pod of the node.
type Change struct {
	// Pod is its newest known form; never nil.
	Pod *corev1.Pod
	// Gone is true when the API server has no such pod any more. A namesake
	// with another UID does not keep it.
	Gone bool
}

// BudgetChange is something that happened to one disruption budget.
type BudgetChange struct {
	// PDB is its newest known form; nil once, when all the budgets that there
	// were at first have been told.
	PDB *policyv1.PodDisruptionBudget
	// Gone is true when the API server has no such budget any more.
	Gone bool
}

// Feed tells which pods a node has: all of them once, then every change; and
// which disruption budgets there are. Each is filled by one watch and ends with
// the context that the feed was made with.
type Feed struct {
	*follower[*corev1.Pod]

	first   chan []corev1.Pod
	changes chan Change
	budgets chan BudgetChange
	guards  *follower[*policyv1.PodDisruptionBudget]
}

// changesBuffered is how many changes wait for a reader; more hold up the
// watch, which loses nothing.
const changesBuffered = 64

func newFeed(ctx context.Context) *Feed {
	f := &Feed{
		first:   make(chan []corev1.Pod, 1),
		changes: make(chan Change, changesBuffered),
		budgets: make(chan BudgetChange, changesBuffered),
	}
	f.follower = &follower[*corev1.Pod]{
		known: map[types.UID]*corev1.Pod{},
		first: func(pods []*corev1.Pod) {
			all := make([]corev1.Pod, 0, len(pods))
			for _, pod := range pods {
				all = append(all, *pod)
			}
			f.first <- all
		},
		change: func(pod *corev1.Pod, gone bool) { send(ctx, f.changes, Change{pod, gone}) },
	}
	tell := func(pdb *policyv1.PodDisruptionBudget, gone bool) { send(ctx, f.budgets, BudgetChange{pdb, gone}) }
	f.guards = &follower[*policyv1.PodDisruptionBudget]{
		known: map[types.UID]*policyv1.PodDisruptionBudget{},
		first: func(pdbs []*policyv1.PodDisruptionBudget) {
			for _, pdb := range pdbs {
				tell(pdb, false)
			}
			tell(nil, false)
		},
		change: tell,
	}
	return f
}

func send[T any](ctx context.Context, to chan<- T, value T) {
	select {
	case to <- value:
	case <-ctx.Done():
	}
}

// Snapshot waits for the pods that the node has at first and returns them; it
// may be called once. It fails only when ctx ends before.
func (f *Feed) Snapshot(ctx context.Context) ([]corev1.Pod, error) {
	select {
	case pods := <-f.first:
		return pods, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the node's pods: %w", context.Cause(ctx))
	}
}

// Changes returns what happened to the pods since the snapshot, in order.
func (f *Feed) Changes() <-chan Change { return f.changes }

// Budgets returns every disruption budget as it is at first, then a change
// without one, and then each again whenever it changes.
func (f *Feed) Budgets() <-chan BudgetChange { return f.budgets }

// Pod returns the newest known form of a pod of the node.
func (f *Feed) Pod(uid types.UID) (*corev1.Pod, bool) { return f.get(uid) }

// pretend tells that a pod is gone which is not.
func (f *Feed) pretend(ref PodRef) {
	if pod, known := f.get(ref.UID); known {
		f.change(pod, true)
	}
}
