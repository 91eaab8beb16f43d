package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// lead is the length of notice of this cloud.
const lead = time.Minute

// endPath is the one item of its service: "none", or "end" and a time.
const endPath = "/end"

// cloud is the smallest metadata service that there can be.
type cloud struct{ *metadatatest.Server }

func (c *cloud) Answer(ask metadatatest.Ask) metadatatest.Reply {
	if ask.URL.Path != endPath {
		return c.Refuse(http.StatusNotFound)
	}
	answer := metadatatest.Text("none")
	if n := ask.Notice("end"); n != nil {
		at, _ := n.Content.(time.Time)
		answer.Body = "end " + ask.Cloud(at).Format(time.RFC3339)
		answer.Tells = []string{n.Name}
	}
	answer.Role = metadatatest.NoticeRole
	return answer
}

func (c *cloud) Refuse(status int) metadatatest.Reply {
	return metadatatest.Reply{Status: status, Kind: "text/plain", Body: http.StatusText(status)}
}

// source reads the cloud. Its fields are what can be wrong with a source; the zero
// value keeps every promise.
type source struct {
	client *metadata.Client
	pace   agent.Pace
	name   string

	// spoil changes what a poll says.
	spoil func(ctx context.Context, polls int, sightings []agent.Sighting, err error) ([]agent.Sighting, error)
	polls int
}

func (s *source) Provider() string { return "test" }
func (s *source) Name() string     { return s.name }
func (s *source) Pace() agent.Pace { return s.pace }

func (s *source) Poll(ctx context.Context) ([]agent.Sighting, error) {
	sightings, err := s.read(ctx)
	s.polls++
	if s.spoil == nil {
		return sightings, err
	}
	return s.spoil(ctx, s.polls, sightings, err)
}

func (s *source) read(ctx context.Context) ([]agent.Sighting, error) {
	reply, err := s.client.Get(ctx, endPath)
	if err != nil {
		return nil, err
	}
	body := string(reply.Body)
	if body == "none" {
		return nil, nil
	}
	text, found := strings.CutPrefix(body, "end ")
	at, err := time.Parse(time.RFC3339, text)
	if !found || err != nil {
		return nil, reply.Unreadable("an end", errors.New("neither none nor an end with a time"))
	}
	want := wanted
	want.At, want.ServerTime, want.Raw = at, reply.Date, body
	return []agent.Sighting{want}, nil
}

var wanted = agent.Sighting{
	Kind: agent.SpotInterruption, Action: agent.Terminate, State: agent.Scheduled, Nominal: lead,
}

// harness tests the source that change makes of a good one.
func harness(change func(*source)) Harness {
	return Harness{
		Want: wanted, Lead: lead, MaxPerPoll: 2, IdlePerPoll: 1,
		New: func(t *testing.T, keepAlive bool) *Rig {
			t.Helper()
			c := &cloud{}
			var err error
			c.Server, err = metadatatest.Start(c, metadatatest.Options{
				KeepAlive: keepAlive, Faults: metadatatest.Common().WithEffect(metadatatest.NoticeNotFound, metadatatest.Blinds),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			client, err := metadata.NewClient(metadata.Options{Endpoint: c.URL(), Step: 250 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			s := &source{
				client: client, name: "end",
				pace: agent.Pace{Every: time.Second, Timeout: 500 * time.Millisecond, BlindAfter: 10 * time.Second},
			}
			change(s)
			return &Rig{
				Server: c.Server, Source: s, Close: client.Close,
				Announce: func() {
					c.Announce(metadatatest.Notice{Name: "end", Content: c.Now().Add(lead)})
				},
				End: func() { c.Withdraw("end") },
			}
		},
	}
}

func TestAGoodSourcePasses(t *testing.T) { //nolint:tparallel // goroutines are counted
	Run(t, harness(func(*source) {}))
}

// spoils changes what a poll says.
type spoils = func(ctx context.Context, polls int, sightings []agent.Sighting, err error) ([]agent.Sighting, error)

// each changes every sighting.
func each(change func(polls int, s *agent.Sighting)) spoils {
	return func(_ context.Context, polls int, sightings []agent.Sighting, err error) ([]agent.Sighting, error) {
		for i := range sightings {
			change(polls, &sightings[i])
		}
		return sightings, err
	}
}

func TestABrokenPromiseIsFound(t *testing.T) {
	t.Parallel()
	spoil := func(how spoils) func(*source) { return func(s *source) { s.spoil = how } }
	tests := map[string]struct {
		check  string
		change func(*source)
		want   string
	}{
		"a name with a space": {
			"its pace and names can be used", func(s *source) { s.name = "The End" }, "no name for a label",
		},
		"a pace of no time": {
			"its pace and names can be used", func(s *source) { s.pace.Every = 0 }, "not positive",
		},
		"no patience": {
			"its pace and names can be used", func(s *source) { s.pace.BlindAfter = time.Second }, "blind after a single flaky poll",
		},
		"a false alarm": {
			"it says none when there is none",
			spoil(func(context.Context, int, []agent.Sighting, error) ([]agent.Sighting, error) {
				return []agent.Sighting{wanted}, nil
			}), "without a notice it says",
		},
		"deafness": {
			"it reads a notice",
			spoil(func(context.Context, int, []agent.Sighting, error) ([]agent.Sighting, error) { return nil, nil }), "it says none",
		},
		"another kind of notice": {
			"it reads a notice", spoil(each(func(_ int, s *agent.Sighting) { s.Kind = agent.Maintenance })), "Maintenance",
		},
		"words not kept": {
			"it reads a notice", spoil(each(func(_ int, s *agent.Sighting) { s.Raw = "" })), "is kept as",
		},
		"a moment in another zone": {
			"it reads a notice", spoil(each(func(_ int, s *agent.Sighting) { s.At = s.At.Add(8 * time.Hour) })), "after the reply",
		},
		"an id that changes": {
			"it reads the same notice in the same words",
			spoil(each(func(polls int, s *agent.Sighting) { s.ID = fmt.Sprint(polls) })), "in other words",
		},
		"a notice told once": {
			"it reads the same notice in the same words",
			spoil(func(_ context.Context, polls int, sightings []agent.Sighting, err error) ([]agent.Sighting, error) {
				if polls > 2 {
					return nil, err
				}
				return sightings, err
			}), "it says none",
		},
		"a notice that is never over": {
			"it sees a notice end and the next one begin",
			spoil(func(context.Context, int, []agent.Sighting, error) ([]agent.Sighting, error) {
				return []agent.Sighting{wanted}, nil
			}), "is open",
		},
		"our own clock": {
			"it goes by the cloud's clock",
			spoil(each(func(_ int, s *agent.Sighting) { s.ServerTime = time.Now() })), "clock that is 1h0m0s ahead",
		},
		"a poll that ignores its end": {
			"it ends with its context",
			spoil(func(context.Context, int, []agent.Sighting, error) ([]agent.Sighting, error) { return nil, nil }), "want that it was cancelled",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := harness(tc.change)
			if err := checks[tc.check](t.Context(), h, h.New(t, true)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v, want %q", tc.check, err, tc.want)
			}
		})
	}
}

func TestALoudSourceIsFound(t *testing.T) {
	t.Parallel()
	h := harness(func(s *source) {
		s.spoil = func(ctx context.Context, _ int, sightings []agent.Sighting, err error) ([]agent.Sighting, error) {
			for range 2 { // it asks thrice
				_, _ = s.read(ctx)
			}
			return sightings, err
		}
	})
	if err := sendLittle(t.Context(), h, h.New(t, true)); err == nil || !strings.Contains(err.Error(), "30 polls sent 90 requests") {
		t.Errorf("while idle: %v", err)
	}
	row := metadatatest.Definition{Fault: metadatatest.Unavailable, Effect: metadatatest.Blinds}
	if err := endure(t.Context(), h, h.New(t, true), row, circumstance{}); err == nil || !strings.Contains(err.Error(), "it sends 3 requests") {
		t.Errorf("under a fault: %v", err)
	}
}

func TestASourceThatFailsUnderAFaultIsFound(t *testing.T) {
	t.Parallel()
	calm := func(_ context.Context, _ int, sightings []agent.Sighting, _ error) ([]agent.Sighting, error) {
		return sightings, nil
	}
	tests := map[string]struct {
		fault  metadatatest.Fault
		spoil  spoils
		notice bool
		want   string
	}{
		"as calm that is blindness":         {metadatatest.Unavailable, calm, true, "it says none, and cannot see"},
		"as calm at each status":            {metadatatest.TooManyRequests, calm, false, "it says none, and cannot see"},
		"as calm where nothing is":          {metadatatest.NotFound, calm, false, "it says none, and cannot see"},
		"as an alarm made of garbage":       {metadatatest.GarbageBody, alarm, false, "through the fault"},
		"as blindness where there is sight": {metadatatest.NoDateHeader, blind, true, "want to see whether there is a notice"},
		"as two lines of error":             {metadatatest.Forbidden, twoLines, false, "not one line of text"},
		"as a poll without an end":          {metadatatest.HangingItem, endless, false, "it takes"},
		"as blindness after the fault":      {metadatatest.Forbidden, blind, false, `after "forbidden"`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := harness(func(s *source) { s.spoil = tc.spoil })
			r := h.New(t, false)
			row, _ := r.Server.Faults().Find(tc.fault)
			err := endure(t.Context(), h, r, row, circumstance{notice: tc.notice})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("under %q: %v, want %q", tc.fault, err, tc.want)
			}
		})
	}
}

func alarm(context.Context, int, []agent.Sighting, error) ([]agent.Sighting, error) {
	return []agent.Sighting{wanted}, nil
}

func blind(context.Context, int, []agent.Sighting, error) ([]agent.Sighting, error) {
	return nil, errors.New("cannot see")
}

// endless takes longer than its context lets it.
func endless(ctx context.Context, _ int, _ []agent.Sighting, err error) ([]agent.Sighting, error) {
	<-ctx.Done()
	<-time.After(late + 500*time.Millisecond)
	return nil, err
}

func twoLines(_ context.Context, _ int, sightings []agent.Sighting, err error) ([]agent.Sighting, error) {
	if err != nil {
		err = errors.New("cannot\nsee")
	}
	return sightings, err
}

func TestWhatASourceLeavesBehindIsFound(t *testing.T) {
	leaving := make(chan struct{})
	gone := make(chan struct{}, 1000)
	left := 0
	h := harness(func(s *source) {
		s.spoil = func(_ context.Context, _ int, sightings []agent.Sighting, err error) ([]agent.Sighting, error) {
			left++
			go func() {
				<-leaving
				gone <- struct{}{}
			}()
			return sightings, err
		}
	})
	err := flap(t.Context(), h, h.New(t, true), somePolls)
	if err == nil || !strings.Contains(err.Error(), "goroutines run after the end") {
		t.Errorf("goroutines left behind: %v", err)
	}
	close(leaving)
	for range left {
		<-gone
	}
}
