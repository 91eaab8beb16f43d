package drain

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// UndoDrain takes back what an earlier drain did to the node and to its pods, if the
// state that the node carries is one that may be undone; the choice is made on what
// is read in the same moment, so that it can never hit a newer drain. A state that
// says that the node is put back already may be undone in any case.
//
// The node comes first, since it shall not stay closed for the sake of a pod that
// cannot be tidied; then the pods; the state goes last: as long as the node carries
// one, somebody will go on. undone says that the node itself is as it was before; an
// error beside it is about pods alone, and the next try goes on with them. Four
// requests of the node, a list, and what the pods need.
func (c *Client) UndoDrain(ctx context.Context, may func(State) bool) (undone bool, err error) {
	left, err := c.putBack(ctx, may)
	if err != nil || left == "" {
		return false, err
	}
	// A drain whose cordon never succeeded has handed pods over all the same.
	err = c.tidy(ctx, func(handOver HandOver) bool { return handOver.Notice != RescueNotice })
	if err != nil {
		return true, err
	}
	return true, c.forget(ctx, left)
}

// Undo is for whoever is not the node's agent, and knows that nobody goes on with
// anything there. It takes back what placement's rescues have handed over, too. Of the
// node it takes everything back in one patch, the state with it: whoever may do that may
// be bound to do no less. may is asked about every state. Of what is left where an error
// comes with undone, pods that are handed over can be found by their label.
func (c *Client) Undo(ctx context.Context, may func(State) bool) (undone bool, err error) {
	undone, err = c.open(ctx, may)
	if err != nil || !undone {
		return undone, err
	}
	return true, c.tidy(ctx, func(HandOver) bool { return true })
}

// putBack puts the node itself back and returns the annotation that it carries then;
// empty when that may not be done.
//
// It writes the node even where it carries no state. A cordon whose reply was lost may
// arrive after everything else; it is a patch of one version of the node, and comes to
// nothing once there is another.
func (c *Client) putBack(ctx context.Context, may func(State) bool) (left string, err error) {
	err = c.change(ctx, "putting back", func(node *corev1.Node, state *State) (nodePatch, bool) {
		left = "" // what was to be written before has come to nothing
		switch {
		case state == nil:
			state = &State{}
		case state.PutBack:
			left = node.Annotations[StateAnnotation]
			return nodePatch{}, false
		case !may(*state):
			return nodePatch{}, false
		}
		patch := putBackPatch(node, *state)
		left = *patch.Metadata.Annotations[StateAnnotation]
		return patch, true
	})
	return left, err
}

// open puts the node itself back and takes the state off, and says whether that may be
// done; a node without a state is left as it is.
func (c *Client) open(ctx context.Context, may func(State) bool) (opened bool, err error) {
	err = c.change(ctx, "uncordoning", func(node *corev1.Node, state *State) (nodePatch, bool) {
		opened = state == nil || may(*state)
		if state == nil || !opened {
			return nodePatch{}, false
		}
		patch := putBackPatch(node, *state)
		patch.Metadata.Annotations[StateAnnotation] = nil
		return patch, true
	})
	return opened && err == nil, err
}

// forget takes the annotation off the node, unless it is another by now.
func (c *Client) forget(ctx context.Context, left string) error {
	return c.change(ctx, "taking the state off", func(node *corev1.Node, _ *State) (nodePatch, bool) {
		return forgetPatch(node), node.Annotations[StateAnnotation] == left
	})
}

// change reads the node and sends the patch that to makes of it, if any, and begins anew
// where others have written the node in between.
func (c *Client) change(ctx context.Context, doing string, to func(*corev1.Node, *State) (nodePatch, bool)) error {
	for range undoTries {
		node, err := c.Get(ctx)
		if err != nil {
			return err
		}
		state, err := ReadState(node)
		if err != nil {
			return err
		}
		patch, needed := to(node, state)
		if !needed {
			return nil
		}
		if err = c.patchNode(ctx, doing, patch, c.dryRun); !apierrors.IsConflict(err) {
			return err
		}
	}
	return fmt.Errorf("%s node %q: %w", doing, c.name, errContended)
}
