package gcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// upcomingPace suits what is announced days ahead. A failed poll is followed by
// the next within a second, so there are plenty before the source is blind.
var upcomingPace = agent.Pace{Every: 30 * time.Second, Timeout: 4 * time.Second, BlindAfter: 2 * time.Minute}

// longestWindow is above all that Google documents of how far ahead
// maintenance is announced, so that it bounds no window.
const longestWindow = 60 * 24 * time.Hour

// UpcomingMaintenance is the host maintenance that is planned for this
// instance, as agent.Source, by Compute Engine's documentation, "Monitor and plan
// for a host maintenance event". Some machine types alone announce it.
type UpcomingMaintenance struct {
	client  *client
	options scheduling
}

var _ agent.Source = (*UpcomingMaintenance)(nil)

// NewUpcomingMaintenance sends nothing yet. The error says which option cannot be
// used.
func NewUpcomingMaintenance(o Options) (*UpcomingMaintenance, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	return &UpcomingMaintenance{client: c, options: scheduling{client: c}}, nil
}

// Provider implements agent.Source.
func (u *UpcomingMaintenance) Provider() string { return provider }

// Name implements agent.Source.
func (u *UpcomingMaintenance) Name() string { return "upcoming-maintenance" }

// Pace implements agent.Source.
func (u *UpcomingMaintenance) Pace() agent.Pace { return upcomingPace }

// Close gives up the connection. The source may be used again.
func (u *UpcomingMaintenance) Close() { u.client.http.Close() }

// Poll asks once for planned maintenance. It sends one request, and at most
// three. The error is a *metadata.ReadError.
func (u *UpcomingMaintenance) Poll(ctx context.Context) ([]agent.Sighting, error) {
	sightings, err := u.poll(ctx)
	if err != nil {
		u.client.known.Lose()
	}
	return sightings, err
}

func (u *UpcomingMaintenance) poll(ctx context.Context) ([]agent.Sighting, error) {
	reply, err := u.client.look(ctx, keyUpcoming, "alt=json")
	// Machines that never have any answer 404. Those that have none so far were
	// seen to answer 503, with the page that errNone stands for.
	if metadata.Answered(err, http.StatusNotFound) || metadata.Answered(err, http.StatusServiceUnavailable) {
		return nil, u.client.believe(ctx)
	}
	if err != nil {
		return nil, err
	}
	window, err := upcomingWindow(reply.Body)
	switch {
	case errors.Is(err, errNone):
		u.options.learn(ctx)
		return nil, nil
	case err != nil:
		return nil, reply.Unreadable("planned maintenance", err)
	}
	u.options.learn(ctx)
	return []agent.Sighting{window.sighting(reply, u.options.action)}, nil
}

// window is what is planned.
type window struct {
	from    time.Time // zero where it cannot be read
	ongoing bool
}

var (
	// errNone is a document that says that nothing is planned.
	errNone = errors.New("no notifications have been received yet")
	// errNoWindow is one about something else.
	errNoWindow = errors.New("neither a window, a status nor a type")
)

// upcomingWindow reads the key:
//
//	{"can_reschedule": "true", "latest_window_start_time": "2024-12-01T19:00:01Z",
//	 "maintenance_status": "PENDING", "type": "SCHEDULED",
//	 "window_end_time": "2024-12-01T21:00:01Z", "window_start_time": "2024-12-01T19:00:01Z"}
//
// which the documentation shows under the name "Upcoming maintenance", and
// others have met bare. That nothing is planned is {}, NONE or errNone. An
// object with one of three fields is a notice, whatever they hold.
func upcomingWindow(body []byte) (window, error) {
	body = bytes.TrimSpace(body)
	if none := string(body); none == "NONE" || none == `"NONE"` {
		return window{}, errNone
	}
	if bytes.HasPrefix(body, []byte(`"`)) {
		body = append(append([]byte{'{'}, body...), '}') // as the documentation prints it
	}
	var document json.RawMessage
	if err := json.Unmarshal(body, &document); err != nil {
		return window{}, err
	}
	fields := folded(document)
	if inner, found := fields["upcomingmaintenance"]; found {
		document, fields = inner, folded(inner)
	}
	empty := document[0] == '{' && len(fields) == 0
	if empty || strings.HasPrefix(plain(fields["error"]), errNone.Error()) {
		return window{}, errNone
	}
	_, hasWindow := fields["windowstarttime"]
	_, hasStatus := fields["maintenancestatus"]
	_, hasType := fields["type"]
	if !hasWindow && !hasStatus && !hasType {
		return window{}, errNoWindow
	}
	from, err := time.Parse(time.RFC3339, plain(fields["windowstarttime"]))
	if err != nil {
		from = time.Time{} // it is no reason to stay
	}
	return window{from: from, ongoing: plain(fields["maintenancestatus"]) == "ONGOING"}, nil
}

// sighting is what is planned, as a notice. Where the instance does not say that
// it is migrated, it is taken to be terminated, as most are that are told.
func (w window) sighting(reply metadata.Reply, action agent.Action) agent.Sighting {
	s := agent.Sighting{
		Kind: agent.Maintenance, Action: action, State: agent.Scheduled,
		At: w.from, ServerTime: reply.Date, Nominal: longestWindow,
		Raw: metadata.Cut(reply.Body, agent.MaxRaw),
	}
	if !s.At.IsZero() {
		s.AtKind = agent.Earliest // the window opens then
	}
	if s.Action == "" {
		s.Action = agent.Terminate
	}
	if w.ongoing {
		// The beginning of the window says no more about when the instance goes.
		s.State, s.At, s.AtKind, s.Nominal = agent.Started, time.Time{}, "", hostNotice
	}
	return s
}
