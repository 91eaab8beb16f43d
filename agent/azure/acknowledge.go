package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// The reasons for which an event is not acknowledged.
var (
	// ErrNotListed means that the event is not, or no longer, on the list.
	ErrNotListed = errors.New("it is not on the list")
	// ErrShared means that the event is about other machines, too.
	ErrShared = errors.New("it is about other machines, too")
	// ErrUnderWay means that the event has started.
	ErrUnderWay = errors.New("it has started")
)

// Acknowledge tells Azure that it need not wait for the moment of an event: the
// machine was emptied. Azure then starts the event at once, for every machine that it
// is about; so it is refused, with an error that is ErrShared, where there is
// another than this one. Other errors are ErrNotListed, ErrUnderWay, and what kept
// the service from being asked.
//
// Nothing in this package calls it. It may be called during a poll, and takes as
// long as ctx allows.
func (s *ScheduledEvents) Acknowledge(ctx context.Context, eventID string) error {
	if err := s.acknowledge(ctx, eventID); err != nil {
		return fmt.Errorf("acknowledging event %q: %w", eventID, err)
	}
	return nil
}

func (s *ScheduledEvents) acknowledge(ctx context.Context, eventID string) error {
	machine, err := s.name(ctx)
	if err != nil {
		return err
	}
	// Machines may have joined the event since a poll saw it.
	reply, err := s.list(ctx)
	if err != nil {
		return err
	}
	list, err := parse(reply)
	if err != nil {
		return reply.Unreadable("a list of scheduled events", err)
	}
	if err := list.startable(eventID, machine); err != nil {
		return err
	}
	type start struct {
		EventID string `json:"EventId"`
	}
	body, err := json.Marshal(struct{ StartRequests []start }{[]start{{eventID}}})
	if err != nil {
		return err
	}
	_, err = s.client.Do(ctx, metadata.Request{
		Method: http.MethodPost, Path: pathEvents, Query: queryEvents, Body: string(body),
	})
	return err
}

// startable says why the event must not be started early on behalf of machine.
func (l events) startable(eventID, machine string) error {
	for _, e := range l {
		if e.EventID != eventID || eventID == "" {
			continue
		}
		if len(e.Resources) == 0 {
			return errNoTarget
		}
		for _, name := range e.Resources {
			if !strings.EqualFold(name, machine) {
				return ErrShared
			}
		}
		if !strings.EqualFold(e.EventStatus, "scheduled") {
			return ErrUnderWay
		}
		return nil
	}
	return ErrNotListed
}
