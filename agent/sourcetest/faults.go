package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"time"

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
		r.Server.ResetRequests()
		began := time.Now()
		sightings, err := r.poll(ctx)
		if took := time.Since(began); took > pace.Timeout+late {
			return fmt.Errorf("a poll takes %s, want at most %s", took, pace.Timeout)
		}
		if sent := len(r.Server.Log()); sent > h.MaxPerPoll {
			return fmt.Errorf("a poll sends %d requests, want at most %d: %v", sent, h.MaxPerPoll, r.Server.Requests())
		}
		if r.Server.Requests()["GET "+metadatatest.SignInPath] > 0 {
			return errors.New("a redirect was followed")
		}
		switch {
		case row.Effect == metadatatest.Shows:
			if err != nil || (len(sightings) > 0) != notice {
				return fmt.Errorf("it says %s, want to see whether there is a notice", said(sightings, err))
			}
		case row.Effect == metadatatest.Hides:
			if err != nil || len(sightings) > 0 {
				return fmt.Errorf("it says %s, want none", said(sightings, err))
			}
		case len(sightings) > 0:
			return fmt.Errorf("it sees %+v through the fault", sightings)
		case err == nil && row.Fault == metadatatest.NotFound && done == 0 && passed <= pace.BlindAfter:
			// A 404 may be believed for as long as the service was known to be sound.
			r.age(pace.Every)
			continue
		case err == nil:
			return errors.New("it says none, and cannot see")
		default:
			if err := oneLine(err); err != nil {
				return err
			}
		}
		done++
		r.age(pace.Every)
	}
	return nil
}
