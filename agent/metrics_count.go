package agent

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/drain"
)

// drainCount counts one drain: its pods as soon as it is certain what becomes of
// them, the drain itself when it has ended. The machine goes under with the report,
// and a Prometheus that looks every 15 s would see nothing that is counted with it.
type drainCount struct {
	*drainMetrics
	notice Notice

	mu sync.Mutex
	// paths holds how each pod was counted last.
	paths map[types.UID]drain.Path
	// incomplete is true once the drain was counted as that.
	incomplete bool
	// apart gets what became of a drill or an advice; nil for a real drain.
	apart *apartMetrics
}

// begin returns the count of the drain for notice.
func (m *drainMetrics) begin(notice Notice) *drainCount {
	return &drainCount{drainMetrics: m, notice: notice, paths: map[types.UID]drain.Path{}}
}

// observe counts a pod that was told to stop or has its outcome.
func (c *drainCount) observe(pod drain.PodOutcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(pod)
}

// count counts pod once, and a second time where it was told and is left behind all
// the same: counters take nothing back. One that counts as lost is not heard of again.
func (c *drainCount) count(pod drain.PodOutcome) {
	before, counted := c.paths[pod.UID]
	if counted && (before == pod.Path || before == drain.Lost) {
		return
	}
	c.paths[pod.UID] = pod.Path
	c.pods.WithLabelValues(string(pod.Path)).Inc()
	if !counted {
		c.grace(pod)
	}
	if pod.Path == drain.Lost || pod.Path == drain.CalledOff {
		c.gaveUp()
	}
}

// grace counts how much of its own grace pod was given.
func (c *drainCount) grace(pod drain.PodOutcome) {
	switch {
	case pod.ToldByOthers:
		// Others had told it, with a grace that nobody here chose.
	case pod.ToldAt.IsZero() && pod.Path == drain.Lost:
		c.graces.WithLabelValues(noGrace).Inc()
	case pod.ToldAt.IsZero():
		// It ended by itself, or the drain was called off and it lives on.
	case pod.GraceGiven < pod.GraceWanted:
		c.graces.WithLabelValues(shortenedGrace).Inc()
	default:
		c.graces.WithLabelValues(fullGrace).Inc()
	}
}

// gaveUp counts the drain as incomplete, once.
func (c *drainCount) gaveUp() {
	if !c.incomplete {
		c.incomplete = true
		c.drains.WithLabelValues(incomplete).Inc()
	}
}

// watch counts what is lost at the end of the pods' time, unless ctx ends before.
func (c *drainCount) watch(ctx context.Context, countdown *drain.Countdown, moves []drain.Move) {
	for {
		budget, tightened := countdown.Budget()
		timer := time.NewTimer(budget.Left(time.Now()))
		select {
		case <-timer.C:
			c.timeIsUp(moves)
			return
		case <-tightened:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// timeIsUp counts the pods that nobody has told to stop by now. A call may still reach
// one in the reserve, with a grace of two seconds at most; that saves nothing, and
// the last moment is too late to be scraped.
func (c *drainCount) timeIsUp(moves []drain.Move) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, move := range moves {
		if _, counted := c.paths[move.UID]; !counted && move.Action != drain.Await {
			c.count(drain.PodOutcome{PodRef: move.PodRef, Path: drain.Lost})
		}
	}
}

// reported counts the drain when it has ended, and what needs all of its pods. One
// that was taken over from an agent before this one is counted from then on.
func (c *drainCount) reported(report drain.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.apart != nil {
		c.apart.reported(report)
	}
	c.timed(c.notice, report)
	if !report.Complete() {
		c.gaveUp()
		return
	}
	if !c.incomplete {
		c.drains.WithLabelValues(drained).Inc()
	}
	c.completed(c.notice, report)
}
