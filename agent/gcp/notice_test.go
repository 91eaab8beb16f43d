package gcp

import (
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

func TestPlannedMaintenanceIsReadInEachFormThatWasMet(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 12, 1, 19, 0, 1, 0, time.UTC)
	for name, tc := range map[string]struct {
		body string
		want window
		err  error
	}{
		"as the metadata server writes it": {
			`{"can_reschedule": "true", "maintenance_status": "PENDING", "type": "SCHEDULED", "window_start_time": "2026-12-01T19:00:01Z"}`,
			window{from: from},
			nil,
		},
		"as the API writes it": {
			`{"canReschedule": true, "maintenanceStatus": "ONGOING", "windowStartTime": "2026-12-01T20:00:01+01:00"}`,
			window{from: from, ongoing: true},
			nil,
		},
		"as keys are written": {`{"maintenance-status": "ONGOING"}`, window{ongoing: true}, nil},
		"as the documentation prints it": {
			"\"Upcoming maintenance\": {\"window_start_time\": \"2026-12-01T19:00:01Z\"}\n", window{from: from}, nil,
		},
		"under a name":                       {`{"upcomingMaintenance": {"type": "UNSCHEDULED"}}`, window{}, nil},
		"with a window that no one can read": {`{"window_start_time": "soon", "type": "SCHEDULED"}`, window{}, nil},
		"with a window that is no text":      {`{"window_start_time": {"seconds": 5}}`, window{}, nil},
		"none, as documented":                {"{ }\n", window{}, errNone},
		"none, as an empty value":            {`{"upcomingMaintenance": {}}`, window{}, errNone},
		"none, in a word":                    {"NONE\n", window{}, errNone},
		"none, in a word of JSON":            {`"NONE"`, window{}, errNone},
		"none, as met in the field": {
			`{ "error": "no notifications have been received yet, try again later" }`, window{}, errNone,
		},
		"not an error":        {`{"error": "backend unavailable"}`, window{}, errNoWindow},
		"not something else":  {`{"name": "ebb-1"}`, window{}, errNoWindow},
		"not a list":          {`[]`, window{}, errNoWindow},
		"not nothing at all":  {`null`, window{}, errNoWindow},
		"not another word":    {`"MAYBE"`, window{}, nil},
		"not an empty page":   {"", window{}, nil},
		"not half a document": {`{"maintenance_status": "PEND`, window{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := upcomingWindow([]byte(tc.body))
			if failed := name[:4] == "not "; failed != (err != nil && !errors.Is(err, errNone)) || tc.err != nil && !errors.Is(err, tc.err) {
				t.Errorf("error is %v, want %v", err, tc.err)
			}
			if !got.from.Equal(tc.want.from) || got.ongoing != tc.want.ongoing {
				t.Errorf("window is %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestMaintenanceThatGoesOnHasNoDaysLeft(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 19, 0, 1, 0, time.UTC)
	pending := window{from: at}.sighting(metadata.Reply{}, agent.Migrate)
	want := agent.Sighting{
		Kind: agent.Maintenance, Action: agent.Migrate, State: agent.Scheduled,
		At: at, AtKind: agent.Earliest, Nominal: longestWindow,
	}
	if diff := cmp.Diff(want, pending); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	ongoing := window{from: at, ongoing: true}.sighting(metadata.Reply{}, "")
	want = agent.Sighting{
		Kind: agent.Maintenance, Action: agent.Terminate, State: agent.Started, Nominal: time.Minute,
	}
	if diff := cmp.Diff(want, ongoing); diff != "" {
		t.Errorf("ongoing (-want +got):\n%s", diff)
	}
	unread := window{}.sighting(metadata.Reply{}, "")
	want = agent.Sighting{
		Kind: agent.Maintenance, Action: agent.Terminate, State: agent.Scheduled, Nominal: longestWindow,
	}
	if diff := cmp.Diff(want, unread); diff != "" {
		t.Errorf("with a window that no one can read (-want +got):\n%s", diff)
	}
}

func TestSchedulingOptionsTellOfTheExtendedNotice(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body   string
		notice time.Duration
		action agent.Action
	}{
		"none where they say nothing":     {`{"preemptible": "TRUE", "onHostMaintenance": "TERMINATE"}`, 0, ""},
		"none, and that it migrates":      {`{"onHostMaintenance": "MIGRATE"}`, 0, agent.Migrate},
		"in seconds":                      {`{"preemptionNoticeDuration": 120}`, 2 * time.Minute, ""},
		"in seconds, as text":             {`{"preemptionNoticeDuration": "120"}`, 2 * time.Minute, ""},
		"as a duration":                   {`{"preemption-notice-duration": "120s"}`, 2 * time.Minute, ""},
		"as a message":                    {`{"preemption_notice_duration": {"seconds": "120", "nanos": 0}}`, 2 * time.Minute, ""},
		"none where it is none":           {`{"preemptionNoticeDuration": {"seconds": 0}}`, 0, ""},
		"none where it is below nothing":  {`{"preemptionNoticeDuration": -120}`, 0, ""},
		"none where it is past belief":    {`{"preemptionNoticeDuration": "86400s"}`, 0, ""},
		"none where it cannot be read":    {`{"preemptionNoticeDuration": "two minutes"}`, 0, ""},
		"none where nothing can be read":  {`<html>`, 0, ""},
		"none where it's about something": {`[1, 2]`, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if notice, action := options([]byte(tc.body)); notice != tc.notice || action != tc.action {
				t.Errorf("%s and %q, want %s and %q", notice, action, tc.notice, tc.action)
			}
		})
	}
}

func TestAMaintenanceEventNamesItsAction(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]agent.Action{
		"MIGRATE_ON_HOST_MAINTENANCE":   agent.Migrate,
		"TERMINATE_ON_HOST_MAINTENANCE": agent.Terminate,
		"FREEZE_ON_HOST_MAINTENANCE":    agent.Freeze, // Google may invent it
		"_ON_HOST_MAINTENANCE":          "",
		"<B>_ON_HOST_MAINTENANCE":       "",
		"MIGRATE_ON_HO":                 "",
		"NONE":                          "",
		"TRUE":                          "",
		"":                              "",
	} {
		if got := eventAction(value); got != want {
			t.Errorf("%q announces %q, want %q", value, got, want)
		}
	}
}

// Whatever a stranger at the address sends, it ends as none, a notice or an
// error, and what is kept of it can be logged.
func FuzzUpcomingMaintenance(f *testing.F) {
	for _, seed := range []string{
		`{"maintenance_status": "PENDING", "window_start_time": "2026-12-01T19:00:01Z"}`,
		`"Upcoming maintenance": {"type": "SCHEDULED"}`, `{"upcomingMaintenance": {}}`, `{"upcomingMaintenance": [`,
		`{"error": "no notifications have been received yet, try again later"}`, `{"error": {"code": 7}}`,
		`{"preemptionNoticeDuration": {"seconds": "120"}}`, `{"preemptionNoticeDuration": {"seconds": {"seconds": 1}}}`,
		`NONE`, `"NONE"`, `{}`, `[]`, `null`, ``, `"`, "{\"type\": \"\xff\"}", `<html>`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := string(body)
		reply := metadata.Reply{Path: keyUpcoming, Body: body}
		w, err := upcomingWindow(body)
		if notice, _ := options(body); notice < 0 || notice > longestNotice {
			t.Errorf("the notice is %s", notice)
		}
		if string(body) != before {
			t.Errorf("the reply was changed to %q", body)
		}
		if err != nil {
			if text := reply.Unreadable("planned maintenance", err).Error(); !utf8.ValidString(text) {
				t.Errorf("the error is no text: %q", text)
			}
			return
		}
		s := w.sighting(reply, "")
		if s.Kind != agent.Maintenance || s.Action == "" || len(s.Raw) > agent.MaxRaw || !utf8.ValidString(s.Raw) {
			t.Errorf("sighting %+v of %q", s, body)
		}
	})
}
