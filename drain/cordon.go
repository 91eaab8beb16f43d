package drain

import (
	"context"
	"errors"
	"time"
)

// Marker writes the state of a drain, or of an advice, to its node. Mark makes one
// attempt and returns the state as written, with what it found.
type Marker interface {
	Mark(ctx context.Context, state State) (State, error)
}

const (
	// cordonTimeout bounds one attempt at the cordon.
	cordonTimeout = 2 * time.Second
	// cordonDelay is the pause between two attempts. The node's status is
	// written by others all the time, so that a lost race is worth another try
	// at once.
	cordonDelay = 200 * time.Millisecond
	// underDrainDelay is the pause of an advice that meets a drain. It lasts until the
	// node is put back, and nothing hangs on when the advice is followed then.
	underDrainDelay = 5 * time.Second
)

// Cordon marks the node with state and tries again until it has succeeded or
// ctx ends. It waits for nothing else, and its failure is an outcome: the
// machine goes away either way. written is the state that the node carries then,
// which may hold a nearer deadline of an earlier agent; without success it is the
// state as it was given.
func Cordon(ctx context.Context, node Marker, state State) (written State, outcome CordonOutcome) {
	for {
		attempt, cancel := context.WithTimeout(ctx, cordonTimeout)
		written, err := node.Mark(attempt, state)
		cancel()
		if err == nil {
			return written, CordonOutcome{Done: time.Now(), Ours: written.Cordoned}
		}
		if ctx.Err() == nil || outcome.Err == "" {
			// The last answer says more than "context canceled".
			outcome.Err = err.Error()
		}
		delay := cordonDelay
		if errors.Is(err, ErrUnderDrain) {
			delay = underDrainDelay
		}
		select {
		case <-ctx.Done():
			return state, outcome
		case <-time.After(delay):
		}
	}
}
