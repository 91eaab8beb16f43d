package sourcetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

const (
	// manyPolls are enough for a leak that shows once in a hundred faults.
	manyPolls = 1000
	// somePolls meet each fault once or twice.
	somePolls = 150
)

// flap lets every fault come and go, in an order that no one has thought of, with
// good polls between them, for so many polls, and counts what is left.
func flap(ctx context.Context, h Harness, r *Rig, polls int) error {
	before := runtime.NumGoroutine()
	faults := h.faults(r).Names()
	if err := r.none(ctx); err != nil {
		return err
	}
	for r.polls < polls {
		rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] }) //nolint:gosec // no secret
		for i, fault := range faults {
			if err := stumble(ctx, h, r, fault); err != nil {
				return fmt.Errorf("after faults %v: %w", faults[:i+1], err)
			}
		}
	}
	if err := settle(func() error {
		if open := r.Server.Connections(); open > 1 {
			return fmt.Errorf("%d connections are open, want one at most", open)
		}
		return nil
	}); err != nil {
		return err
	}
	r.Close()
	return settle(func() error {
		if open := r.Server.Connections(); open > 0 {
			return fmt.Errorf("%d connections are open after the end", open)
		}
		if now := runtime.NumGoroutine(); now > before {
			return fmt.Errorf("%d goroutines run after the end, and %d before", now, before)
		}
		return nil
	})
}

// stumble lets one fault come and go.
func stumble(ctx context.Context, h Harness, r *Rig, fault metadatatest.Fault) error {
	if err := r.Server.SetFault(fault); err != nil {
		return err
	}
	// What these polls say is for endure; they are cut short, so that a fault of silence
	// does not take its time.
	for range 1 + rand.IntN(2) { //nolint:gosec // no secret
		short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		_, _ = r.poll(short)
		stop()
		r.age(r.Source.Pace().Every)
	}
	if err := r.Server.ClearFault(); err != nil {
		return err
	}
	r.Announce()
	if _, err := r.one(ctx, h); err != nil {
		return err
	}
	r.End()
	if sightings, err := r.poll(ctx); err != nil || slices.ContainsFunc(sightings, isOpen) {
		return fmt.Errorf("after the notice it says %s", said(sightings, err))
	}
	return nil
}

// settle waits until ok returns nil: a connection that is closed at one end is
// closed at the other a moment later.
func settle(ok func() error) error {
	giveUp := time.After(slack)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-giveUp:
			return err
		}
	}
}
