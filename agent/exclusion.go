package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

// exclusion is the node's leave from its external load balancers, under way.
type exclusion struct {
	*drain.Exclusion

	// done is closed when result is known.
	done   chan struct{}
	result drain.ExclusionOutcome
}

// exclude begins to take the node out of its load balancers and returns at once.
// It goes on after the last pod has left, since what belongs to the node may
// serve on, and ends when the countdown does. On an advice it stays: the pods that are
// not critical go on to serve.
func (a *Agent) exclude(
	ctx context.Context, notice Notice, pods []corev1.Pod, countdown *drain.Countdown, cordoned <-chan struct{},
) *exclusion {
	e := &exclusion{Exclusion: drain.NewExclusion(a.Node), done: make(chan struct{})}
	if notice.Advice != "" {
		e.result.Reason = drain.NotExcluded
		close(e.done)
		return e
	}
	budget, _ := countdown.Budget()
	ctx, cancel := context.WithDeadline(ctx, budget.GiveUpAt())
	go func() {
		defer close(e.done)
		defer cancel()
		e.result = e.Run(ctx, pods, countdown, cordoned)
		a.Log.InfoContext(ctx, "Ended load balancing", "node", a.Node.Name(),
			"reason", e.result.Reason, "lastErr", e.result.Err)
	}()
	return e
}

// outcome returns how the exclusion ended, or after limit that it has not.
func (e *exclusion) outcome(limit time.Duration) drain.ExclusionOutcome {
	select {
	case <-e.done:
		return e.result
	case <-time.After(limit):
		return drain.ExclusionOutcome{Reason: drain.ExclusionPending}
	}
}

// end waits for the exclusion's end.
func (e *exclusion) end() { <-e.done }
