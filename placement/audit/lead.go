package audit

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// workPause is how long a leader waits before it begins again what ended with an error.
const workPause = 10 * time.Second

// rescued is how the rescue of a pod has ended.
type rescued struct {
	Rescue
	end Moved
	err error
}

// lead acts on findings until the term ends. It returns when no rescue and none of the
// other work is under way.
func (r *Runner) lead(term context.Context, findings <-chan Findings) {
	r.Metrics.leading.Set(1)
	defer r.Metrics.leading.Set(0)
	r.Log.InfoContext(term, "Began to lead")
	defer r.Log.InfoContext(term, "Ceased to lead")
	defer r.Metrics.spotDaemonSets.Set(0)
	var running sync.WaitGroup
	defer running.Wait()
	for name, work := range r.WhileLeading {
		running.Go(func() { r.keepUp(term, name, work) })
	}
	daemonSets := &daemonSetWatch{Runner: r}
	ended := make(chan rescued, 1)
	// Busy while a rescue is under way, and for the next findings after it: they may be
	// of an audit that has not seen how it ended.
	busy, stale := false, false
	for {
		select {
		case <-term.Done():
			return
		case end := <-ended:
			r.hear(term, end)
			busy, stale = false, true
		case found := <-findings:
			r.act(term, found)
			daemonSets.look(term)
			if found.Rescue == nil || busy || stale {
				stale = false
				continue
			}
			busy = true
			running.Go(func() {
				end, err := r.Move(term, found.Rescue.Pod)
				ended <- rescued{*found.Rescue, end, err}
			})
		}
	}
}

// keepUp does work for the time of a term, whatever errors it returns.
func (r *Runner) keepUp(term context.Context, name string, work func(context.Context) error) {
	for {
		err := work(term)
		if err == nil || term.Err() != nil && errors.Is(err, context.Canceled) {
			return
		}
		r.Log.WarnContext(term, "Broke off work of the leader", "work", name, "err", err)
		if pause(term, workPause) != nil {
			return
		}
	}
}

// hear takes in how a rescue has ended.
func (r *Runner) hear(ctx context.Context, moved rescued) {
	r.Metrics.rescues[moved.end].Inc()
	pod := moved.Pod
	if moved.end.OK() {
		if moved.end != AlreadyGone { // of where its replacement came to that says nothing
			r.mu.Lock()
			r.memory = r.memory.Rescued(pod)
			r.mu.Unlock()
		}
		r.Log.InfoContext(ctx, "Rescued pod", "pod", key(pod), "node", pod.Spec.NodeName, "policy", moved.Policy, "outcome", moved.end)
		r.Events.Eventf(pod, nil, corev1.EventTypeNormal, "Rescued", "Rescue", "moved off spot node %q (%s)", pod.Spec.NodeName, moved.end)
		return
	}
	r.mu.Lock()
	memory, pause := r.memory.Failed(pod, moved.end, r.now())
	r.memory = memory
	r.mu.Unlock()
	r.Log.WarnContext(ctx, "Left pod on its spot node", "pod", key(pod), "node", pod.Spec.NodeName, "policy", moved.Policy, "outcome", moved.end, "err", moved.err)
	r.Events.Eventf(pod, nil, corev1.EventTypeWarning, "RescueFailed", "Rescue",
		"not moved off spot node %q (%s); tried again in %s", pod.Spec.NodeName, moved.end, pause)
}
