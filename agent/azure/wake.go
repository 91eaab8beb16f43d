package azure

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

const (
	// wakesWithin is how long the first answer may take. The page on Scheduled
	// Events has two minutes; the rest is for a service that is late.
	wakesWithin = 150 * time.Second
	// sleepsAfter is how long the service stays awake without being asked, by the
	// same page.
	sleepsAfter = 24 * time.Hour
)

// waking is a question that stays open from one poll to the next.
type waking struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when reply and err are there
	reply  metadata.Reply
	err    error
}

// end gives the question up.
func (w *waking) end() {
	w.cancel()
	<-w.done
}

// over says whether the answer is there.
func (w *waking) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// ended waits for the answer for as long as d and ctx allow.
func (w *waking) ended(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// read asks for the list of events. It is asleep when the service is there and has
// not woken up yet.
func (s *ScheduledEvents) read(ctx context.Context) (reply metadata.Reply, asleep bool, err error) {
	if time.Since(s.answered) < sleepsAfter {
		reply, err = s.list(ctx)
		return reply, false, err
	}
	return s.wake(ctx)
}

// wake is read where the service may be asleep: a question that ended with each
// poll might never be answered.
func (s *ScheduledEvents) wake(ctx context.Context) (reply metadata.Reply, asleep bool, err error) {
	if err := ctx.Err(); err != nil {
		return reply, false, unread(err)
	}
	if s.waking != nil && s.waking.over() {
		s.waking = nil // what came between two polls is not the newest
	}
	earlier := s.waking != nil
	if !earlier {
		s.waking = s.ask(ctx)
	}
	// A service that is awake answers within a fraction of that.
	if !s.waking.ended(ctx, s.pace.Timeout/4) {
		if err := s.isThere(ctx); err != nil {
			return reply, false, err
		}
		if !s.waking.ended(ctx, s.pace.Timeout) {
			if err := ctx.Err(); errors.Is(err, context.Canceled) {
				return reply, false, unread(err)
			}
			return reply, true, nil
		}
	}
	w := s.waking
	s.waking = nil
	if earlier && w.err != nil {
		// The fault that ended a question of then may be over.
		reply, err := s.list(ctx)
		return reply, false, err
	}
	return w.reply, false, w.err
}

// unread says why a poll ended before the list came.
func unread(err error) *metadata.ReadError {
	return &metadata.ReadError{Method: http.MethodGet, Path: pathEvents, Err: err}
}

// ask begins a question that outlives the poll.
func (s *ScheduledEvents) ask(ctx context.Context) *waking {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wakesWithin)
	w := &waking{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer cancel()
		w.reply, w.err = s.list(ctx)
	}()
	return w
}

// isThere is nil while it is fair to believe that the service wakes up: it answers
// about something else, and has not taken longer than that may take.
func (s *ScheduledEvents) isThere(ctx context.Context) error {
	if _, err := s.identify(ctx); err != nil {
		return err
	}
	if s.asleep.IsZero() {
		s.asleep = time.Now()
	}
	if time.Since(s.asleep) > wakesWithin {
		late := unread(context.DeadlineExceeded)
		late.Hint = "the metadata service answers, but not about scheduled events: they may not be on offer here"
		return late
	}
	return nil
}
