package agent

import (
	"context"

	"github.com/ebbtide/ebbtide/drain"
)

// UndoDrain puts the node back, and takes the state off once the pods are tidied.
func (n *memoryNode) UndoDrain(ctx context.Context, may func(drain.State) bool) (bool, error) {
	if err := n.begin(ctx, undo); err != nil {
		return false, err
	}
	if undone, err := n.putBack(may); !undone {
		return false, err
	}
	if err := n.begin(ctx, tidy); err != nil {
		return true, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if state, err := drain.ReadState(n.node); err == nil && state != nil && state.PutBack {
		delete(n.node.Annotations, drain.StateAnnotation)
	}
	return true, nil
}

func (n *memoryNode) putBack(may func(drain.State) bool) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	state, err := drain.ReadState(n.node)
	switch {
	case err != nil:
		return false, err
	case state == nil, state.PutBack:
		return true, nil
	case !may(*state):
		return false, nil
	}
	unschedulable := n.node.Spec.Unschedulable && !state.Cordoned
	state.PutBack, state.Cordoned = true, false
	n.write(*state)
	n.node.Spec.Unschedulable = unschedulable
	return true, nil
}

func (n *memoryNode) Runs(ctx context.Context, pod string) (bool, error) {
	if err := n.begin(ctx, runs); err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.agents[pod], nil
}
