package drain

import (
	"context"
	"time"
)

// announce tells the deadline to the pods that asked and have not been told this
// one. Their eviction waits for the reply, but not for long.
func (r *run) announce(ctx context.Context, now time.Time) {
	for _, p := range r.moves {
		if !p.unannounced(r.plan.Deadline) {
			continue
		}
		deadline := r.plan.Deadline
		p.announce(deadline, now)
		r.calls.Go(func() {
			call, cancel := context.WithTimeout(ctx, urgentTimeout)
			defer cancel()
			if err := r.Node.Announce(call, p.PodRef, deadline); err != nil {
				r.Log.DebugContext(ctx, "Left deadline untold", "pod", p.String(), "err", err)
			}
			select {
			case r.told <- p:
			case <-ctx.Done():
			}
		})
	}
}

// unannounced says whether the pod asked for deadline and was not told it.
func (p *progress) unannounced(deadline time.Time) bool {
	return p.Announce && p.phase != done && !p.announced.Equal(deadline)
}

// announce notes that the pod is being told deadline. Its first eviction waits
// until it was.
func (p *progress) announce(deadline, now time.Time) {
	p.announced = deadline
	if p.phase == waiting && p.out.Tries == 0 {
		p.retryAt = now.Add(urgentTimeout)
	}
}

// wasAnnounced ends the wait of announce.
func (p *progress) wasAnnounced() {
	if p.out.Tries == 0 {
		p.retryAt = time.Time{}
	}
}

// announcing says whether the pod is being told the deadline before anything else.
func (p *progress) announcing(now time.Time) bool {
	return p.Announce && p.out.Tries == 0 && now.Before(p.retryAt)
}
