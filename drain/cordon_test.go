package drain

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// marker is a node whose cordon goes as scripted.
type marker struct {
	// refusals are the replies to the first attempts.
	refusals []error
	// hangs lets every attempt wait for the end of its context.
	hangs bool
	// cordoned is whether the node was cordoned before.
	cordoned bool

	attempts int
	written  State
}

func (m *marker) Mark(ctx context.Context, state State) (State, error) {
	m.attempts++
	if m.hangs {
		<-ctx.Done()
		return state, context.Cause(ctx)
	}
	if m.attempts <= len(m.refusals) {
		return state, m.refusals[m.attempts-1]
	}
	state.Cordoned = !m.cordoned
	m.written = state
	return state, ctx.Err()
}

func TestACordonIsTriedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	conflict, denied := errors.New("the object has been modified"), errors.New("denied")
	cases := map[string]struct {
		node  *marker
		after time.Duration
		ours  bool
	}{
		"at once":             {&marker{}, 0, true},
		"after two conflicts": {&marker{refusals: []error{conflict, conflict}}, 2 * cordonDelay, true},
		"after whatever else": {&marker{refusals: []error{denied, conflict, denied, denied}}, 4 * cordonDelay, true},
		"on a node that somebody else cordoned before": {&marker{cordoned: true}, 0, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				want := CordonOutcome{Done: time.Now().Add(c.after), Ours: c.ours}
				_, got := Cordon(t.Context(), c.node, State{Notice: "i-1"})
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
				if c.node.written.Notice != "i-1" {
					t.Errorf("wrote the state %+v", c.node.written)
				}
			})
		})
	}
}

func TestACordonEndsWithItsContextAndKeepsTheLastRefusal(t *testing.T) {
	t.Parallel()
	denied := errors.New("denied")
	always := make([]error, 1000)
	for i := range always {
		always[i] = denied
	}
	cases := map[string]struct {
		node *marker
		want string
	}{
		"while it is refused":               {&marker{refusals: always}, "denied"},
		"while the API server says nothing": {&marker{hangs: true}, context.DeadlineExceeded.Error()},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(5*time.Second, cancel)
				_, got := Cordon(ctx, c.node, State{})
				if diff := cmp.Diff(CordonOutcome{Err: c.want}, got); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
				if took := time.Since(began); took != 5*time.Second {
					t.Errorf("ended after %v, want the end of its context after 5s", took)
				}
			})
		})
	}
}

func TestAnAttemptThatHangsIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		node := &marker{hangs: true}
		Cordon(ctx, node, State{})
		// Attempts of cordonTimeout with pauses of cordonDelay between them.
		if node.attempts != 5 {
			t.Errorf("%d attempts in 10s, want 5", node.attempts)
		}
	})
}
