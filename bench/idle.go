package main

import (
	"context"
	"errors"
	"time"

	"github.com/ebbtide/ebbtide/e2e/agentrun"
)

// starting is how long an agent is let alone before it counts as idle.
const starting = 10 * time.Second

// idle measures what an agent costs that has nothing to do.
func (b *bench) idle(ctx context.Context, c cloud) (err error) {
	w, err := b.newWatch(ctx, c, "idle-"+c.provider)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.end(ctx)) }()
	if err := pause(ctx, starting); err != nil {
		return err
	}
	before, err := b.spent(ctx, w)
	if err != nil {
		return err
	}
	w.metadata.ResetRequests()
	began := time.Now()
	for left := b.idleFor; left > 0; left -= time.Minute {
		b.say("  %s to go", left)
		if err := pause(ctx, min(left, time.Minute)); err != nil {
			return err
		}
	}
	asked, lasted := 0, time.Since(began).Seconds()
	for _, n := range w.metadata.Requests() {
		asked += n
	}
	busiest := min(b.idleFor, time.Minute)
	peak := float64(w.metadata.Peak(busiest)) / busiest.Seconds()
	after, err := b.spent(ctx, w)
	if err != nil {
		return err
	}
	const mib = 1 << 20
	figures := Figures{
		figureAPIRequests: float64(after.requests - before.requests),
		figureResident:    round(float64(after.memory.Resident) / mib),
		figureAnonymous:   round(float64(after.memory.Anonymous) / mib),
		figureCPU:         round((after.busy - before.busy).Seconds() * 1000 / lasted),
		figurePolls:       round(float64(asked) / lasted), figurePollsPeak: round(peak),
	}
	if w.metadata.open != nil {
		figures[figureOpenPeak] = float64(w.metadata.open.peak())
	}
	b.results.put("g"+c.suffix, ebbtide, figures)
	return nil
}

// spent is what an agent has used so far.
type spent struct {
	requests int // to the API server
	busy     time.Duration
	memory   agentrun.Memory
}

func (b *bench) spent(ctx context.Context, w *watch) (spent, error) {
	requests, err := b.lab.Requests(ctx, w.user)
	if err != nil {
		return spent{}, err
	}
	busy, err := processorTime(w.agent.PID())
	if err != nil {
		return spent{}, err
	}
	memory, err := w.agent.Memory()
	return spent{requests: len(requests), busy: busy, memory: memory}, err
}
