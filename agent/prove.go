package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/ebbtide/ebbtide/drain"
)

// The names of the checks that need the API server.
const (
	nodeCheck        = "node"
	permissionsCheck = "permissions"
	cordonCheck      = "cordon-rehearsal"
)

const (
	// proveEvery is the pause between two rehearsals of a cordon while all is
	// well: the only request of an idle agent.
	proveEvery = 5 * time.Minute
	// proveAgain is the pause after a failure.
	proveAgain = 10 * time.Second
	// proveTimeout bounds one question.
	proveTimeout = 5 * time.Second
)

// prove shows again and again that a drain would find the API server, the
// node and its permissions as it needs them, and tells Health. All permissions are
// asked for at the start and again after a rehearsal that failed. In between the
// one request in five minutes goes to the rehearsal, which proves the permission
// that everything begins with; that another one was taken away shows in a drain.
func (a *Agent) prove(ctx context.Context) {
	granted := false
	for {
		if !granted {
			granted = a.provePermissions(ctx)
		}
		pause := jittered(proveAgain)
		// Without its permissions a rehearsal would only say the same again.
		if granted {
			granted = a.proveCordon(ctx)
		}
		if granted {
			pause = jittered(proveEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// jittered is d and up to a tenth more, so that a fleet that was started together
// does not ask together for ever.
func jittered(d time.Duration) time.Duration {
	return d + rand.N(d/10) //nolint:gosec // nobody gains from guessing it
}

func (a *Agent) provePermissions(ctx context.Context) bool {
	ask, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	missing, err := a.Node.Missing(ask)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("missing in the agent's ClusterRole: %s", drain.Explain(missing))
	}
	a.set(ctx, permissionsCheck, err)
	return err == nil
}

func (a *Agent) proveCordon(ctx context.Context) bool {
	ask, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	err := a.Node.Prove(ask)
	if apierrors.IsNotFound(err) {
		// That is the node's check to say, and it shall be said once.
		a.set(ctx, nodeCheck, errUnknownNode(a.Node.Name()))
		return false
	}
	a.set(ctx, cordonCheck, err)
	if err == nil {
		a.set(ctx, nodeCheck, nil)
	}
	return err == nil
}

func errUnknownNode(name string) error {
	return fmt.Errorf("no node is called %q: set --node-name to spec.nodeName of the agent's pod", name)
}

// set records a check, unless its error is only that the agent is stopping.
func (a *Agent) set(ctx context.Context, check string, err error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return
	}
	a.Health.Set(check, err, time.Now())
}
