package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// circumstance is how things stand when a fault begins.
type circumstance struct {
	keepAlive bool // connections may be reused
	warm      bool // the source polled before
	notice    bool // the notice came before the fault
}

var circumstances = map[string]circumstance{
	"from the start":                   {notice: true},
	"after good polls":                 {warm: true},
	"on a kept connection with notice": {warm: true, notice: true, keepAlive: true},
}

// endure polls before, under and after a fault.
func endure(ctx context.Context, h Harness, r *Rig, row metadatatest.Definition, c circumstance) error {
	if c.warm {
		if err := r.none(ctx); err != nil {
			return err
		}
	}
	if c.notice {
		r.Announce()
	}
	if err := r.Server.SetFault(row.Fault); err != nil {
		return err
	}
	if err := under(ctx, h, r, row, c.notice); err != nil {
		return fmt.Errorf("under %q (%s): %w", row.Fault, row.Doc, err)
	}
	if err := r.Server.ClearFault(); err != nil {
		return err
	}
	if !c.notice {
		r.Announce()
	}
	if _, err := r.one(ctx, h); err != nil {
		return fmt.Errorf("after %q: %w", row.Fault, err)
	}
	if r.Server.NoticeReadAt().IsZero() {
		return errors.New("the service says that no one has read the notice")
	}
	return nil
}

// under polls a few times under a fault and holds each answer to its effect.
func under(ctx context.Context, h Harness, r *Rig, row metadatatest.Definition, notice bool) error {
	pace := r.Source.Pace()
	const polls = 2 // of the same outcome
	done := 0
	for passed := time.Duration(0); done < polls; passed += pace.Every {
		sightings, err := bounded(ctx, h, r)
		if errors.Is(err, errUnbounded) {
			return err
		}
		// A 404 may be believed for as long as the service was known to be sound.
		believed := row.Fault == metadatatest.NotFound && err == nil && len(sightings) == 0 &&
			done == 0 && passed <= pace.BlindAfter
		if !believed {
			if err := judge(row.Effect, notice, sightings, err); err != nil {
				return err
			}
			done++
		}
		r.age(pace.Every)
	}
	return nil
}

// errUnbounded is a poll that took or sent too much.
var errUnbounded = errors.New("a poll is without bounds")

// bounded polls, and wants that the poll keeps to its time and to few requests.
func bounded(ctx context.Context, h Harness, r *Rig) ([]agent.Sighting, error) {
	r.Server.ResetRequests()
	began := time.Now()
	sightings, err := r.poll(ctx)
	if took, most := time.Since(began), r.Source.Pace().Timeout; took > most+late {
		return nil, fmt.Errorf("%w: it takes %s, want at most %s", errUnbounded, took, most)
	}
	if sent := len(r.Server.Log()); sent > h.MaxPerPoll {
		return nil, fmt.Errorf("%w: it sends %d requests, want at most %d: %v", errUnbounded, sent, h.MaxPerPoll, r.Server.Requests())
	}
	if r.Server.Requests()["GET "+metadatatest.SignInPath] > 0 {
		return nil, fmt.Errorf("%w: it follows a redirect", errUnbounded)
	}
	return sightings, err
}

// judge holds what a poll said to the effect of the fault that it met.
func judge(effect metadatatest.Effect, notice bool, sightings []agent.Sighting, err error) error {
	switch {
	case effect == metadatatest.Shows:
		if err != nil || (len(sightings) > 0) != notice {
			return fmt.Errorf("it says %s, want to see whether there is a notice", said(sightings, err))
		}
		return nil
	case effect == metadatatest.Hides:
		if err != nil || len(sightings) > 0 {
			return fmt.Errorf("it says %s, want none", said(sightings, err))
		}
		return nil
	case len(sightings) > 0:
		return fmt.Errorf("it sees %+v through the fault", sightings)
	case err == nil:
		return errors.New("it says none, and cannot see")
	}
	return oneLine(err)
}
