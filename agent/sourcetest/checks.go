package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ebbtide/ebbtide/agent"
)

const (
	// slack is what a loaded machine adds to anything that takes a moment.
	slack = 5 * time.Second
	// late is what it adds to a poll that ends with its context.
	late = 2 * time.Second
)

// label is what serves as a label value and in ids.
var label = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func usable(_ context.Context, _ Harness, r *Rig) error {
	for _, name := range []string{r.Source.Provider(), r.Source.Name()} {
		if !label.MatchString(name) {
			return fmt.Errorf("%q is no name for a label", name)
		}
	}
	p := r.Source.Pace()
	if p.Every <= 0 || p.Timeout <= 0 {
		return fmt.Errorf("pace %+v is not positive", p)
	}
	if p.BlindAfter <= p.Every || p.BlindAfter <= p.Timeout {
		return fmt.Errorf("pace %+v calls the source blind after a single flaky poll", p)
	}
	if r.Source.Pace() != p {
		return errors.New("the pace changes")
	}
	return nil
}

func sayNone(ctx context.Context, _ Harness, r *Rig) error {
	for range 3 {
		if err := r.none(ctx); err != nil {
			return err
		}
	}
	return nil
}

// none polls and wants no notice.
func (r *Rig) none(ctx context.Context) error {
	if sightings, err := r.poll(ctx); err != nil || len(sightings) > 0 {
		return fmt.Errorf("without a notice it says %s", said(sightings, err))
	}
	return nil
}

// compare is what tells b from a, on one line.
func compare(a, b agent.Sighting, options ...cmp.Option) string {
	return strings.Join(strings.Fields(cmp.Diff(a, b, options...)), " ")
}

// said is what a poll returned, as text.
func said(sightings []agent.Sighting, err error) string {
	switch {
	case err != nil:
		return fmt.Sprintf("%+v and error %q", sightings, err)
	case len(sightings) == 0:
		return "none"
	}
	return fmt.Sprintf("%+v", sightings)
}

// isOpen says whether a sighting is of a notice that still holds.
func isOpen(s agent.Sighting) bool { return s.State != agent.Cancelled && s.State != agent.Gone }

// one polls and wants one notice, as the harness says.
func (r *Rig) one(ctx context.Context, h Harness) (agent.Sighting, error) {
	sightings, err := r.poll(ctx)
	if err != nil || len(sightings) != 1 {
		return agent.Sighting{}, fmt.Errorf("with a notice it says %s", said(sightings, err))
	}
	want := h.Want
	if sightings[0].At.IsZero() {
		want.AtKind = "" // of no moment
	}
	unsaid := cmpopts.IgnoreFields(agent.Sighting{}, "ID", "At", "ServerTime", "Emitted", "Raw")
	if diff := compare(want, sightings[0], unsaid); diff != "" {
		return agent.Sighting{}, fmt.Errorf("the notice is read as another (-want +got): %s", diff)
	}
	return sightings[0], nil
}

func readNotice(ctx context.Context, h Harness, r *Rig) error {
	r.Announce()
	s, err := r.one(ctx, h)
	if err != nil {
		return err
	}
	if s.Raw == "" || len(s.Raw) > agent.MaxRaw || !utf8.ValidString(s.Raw) {
		return fmt.Errorf("what the cloud said is kept as %q", s.Raw)
	}
	return atLead(h, s)
}

// atLead says whether a sighting's moment is where the notice has it, on the
// cloud's own clock.
func atLead(h Harness, s agent.Sighting) error {
	if s.ServerTime.IsZero() {
		return errors.New("the cloud's clock is not told")
	}
	if h.Lead == 0 {
		if !s.At.IsZero() {
			return fmt.Errorf("the moment is %s, and the cloud named none", s.At)
		}
		return nil
	}
	// Both are cut to seconds, and read one after the other.
	if got := s.At.Sub(s.ServerTime); got > h.Lead+time.Second || got < h.Lead-slack {
		return fmt.Errorf("the moment is %s after the reply, want %s", got, h.Lead)
	}
	return nil
}

func repeatNotice(ctx context.Context, h Harness, r *Rig) error {
	if err := r.none(ctx); err != nil {
		return err
	}
	r.Announce()
	tracker := agent.Tracker{Node: "node-1", BootID: "this-boot"}
	first, err := r.one(ctx, h)
	if err != nil {
		return err
	}
	known, _ := tracker.Observe(r.Source, []agent.Sighting{first}, time.Now())
	for range 3 {
		r.age(r.Source.Pace().Every)
		again, err := r.one(ctx, h)
		if err != nil {
			return err
		}
		same := cmpopts.IgnoreFields(agent.Sighting{}, "ServerTime")
		if diff := compare(first, again, same, cmpopts.EquateApproxTime(slack)); diff != "" {
			return fmt.Errorf("the same notice in other words (-first +again): %s", diff)
		}
		notices, _ := tracker.Observe(r.Source, []agent.Sighting{again}, time.Now())
		if len(notices) != 1 || notices[0].ID != known[0].ID || !notices[0].FirstSeen.Equal(known[0].FirstSeen) {
			return fmt.Errorf("it counts as another: %+v, and was %+v", notices, known)
		}
	}
	return nil
}

func seeEnd(ctx context.Context, h Harness, r *Rig) error {
	tracker := agent.Tracker{Node: "node-1", BootID: "this-boot"}
	for range 2 {
		r.Announce()
		s, err := r.one(ctx, h)
		if err != nil {
			return err
		}
		if open, _ := tracker.Observe(r.Source, []agent.Sighting{s}, time.Now()); len(open) != 1 {
			return fmt.Errorf("the notice is not open: %+v", open)
		}
		r.End()
		sightings, err := r.poll(ctx)
		if err != nil {
			return fmt.Errorf("polling after the end: %w", err)
		}
		if open, _ := tracker.Observe(r.Source, sightings, time.Now()); len(open) != 0 {
			return fmt.Errorf("after its end %+v is open", open)
		}
	}
	return nil
}

func goByCloudsClock(ctx context.Context, h Harness, r *Rig) error {
	for _, offset := range []time.Duration{0, time.Hour, -24 * time.Hour} {
		r.Server.SetClockOffset(offset)
		r.End()
		r.Announce()
		s, err := r.one(ctx, h)
		if err != nil {
			return err
		}
		if off := time.Until(s.ServerTime) - offset; off.Abs() > slack {
			return fmt.Errorf("with a clock that is %s ahead, the reply is told to be %s off", offset, off)
		}
		if err := atLead(h, s); err != nil {
			return fmt.Errorf("with a clock that is %s ahead: %w", offset, err)
		}
	}
	return nil
}

func sendLittle(ctx context.Context, h Harness, r *Rig) error {
	const polls = 30
	for range polls {
		if err := r.none(ctx); err != nil {
			return err
		}
		r.age(r.Source.Pace().Every)
	}
	if sent, most := len(r.Server.Log()), int(h.IdlePerPoll*polls); sent > most {
		return fmt.Errorf("%d polls sent %d requests, want at most %d: %v", polls, sent, most, r.Server.Requests())
	}
	return nil
}

func endWithContext(ctx context.Context, _ Harness, r *Rig) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cancel()
	began := time.Now()
	sightings, err := r.poll(ctx)
	if !errors.Is(err, context.Canceled) || len(sightings) > 0 {
		return fmt.Errorf("with a context that has ended it says %s, want that it was cancelled", said(sightings, err))
	}
	if took := time.Since(began); took > late {
		return fmt.Errorf("with a context that has ended it takes %s", took)
	}
	return oneLine(err)
}

// oneLine wants an error that can be logged.
func oneLine(err error) error {
	text := err.Error()
	if text == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("the error is not one line of text: %q", text)
	}
	return nil
}
