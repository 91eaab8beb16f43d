package awstest

import (
	"net/http"
	"testing"
	"time"
)

func TestANoticeHasTheLayoutOfTheRealService(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		action          string
		offset          time.Duration
		wantNotice      string
		wantTermination string // empty: 404
	}{
		"a termination": {
			action:          "terminate",
			wantNotice:      `{"action": "terminate", "time": "2026-11-22T12:02:00Z"}`,
			wantTermination: "2026-11-22T12:02:00Z",
		},
		"a stop, which the older item does not know": {
			action:     "stop",
			wantNotice: `{"action": "stop", "time": "2026-11-22T12:02:00Z"}`,
		},
		"a clock that is ahead of ours": {
			action: "terminate", offset: time.Hour,
			wantNotice:      `{"action": "terminate", "time": "2026-11-22T13:02:00Z"}`,
			wantTermination: "2026-11-22T13:02:00Z",
		},
		"a clock that is behind ours": {
			action: "hibernate", offset: -90 * time.Second,
			wantNotice: `{"action": "hibernate", "time": "2026-11-22T12:00:30Z"}`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, clock := newWithClock(t)
			s.SetClockOffset(tc.offset)
			s.Interrupt(tc.action, clock.Now().Add(2*time.Minute))
			r := get(t, s, "spot/instance-action")
			if r.status != 200 || r.body != tc.wantNotice || r.header.Get("Content-Type") != "application/json" {
				t.Errorf("notice: %d %q, want %q", r.status, r.body, tc.wantNotice)
			}
			if want := noon.Add(tc.offset).Format(http.TimeFormat); r.header.Get("Date") != want {
				t.Errorf("Date is %q, want %q", r.header.Get("Date"), want)
			}
			r = get(t, s, "spot/termination-time")
			if tc.wantTermination == "" && r.status != 404 || tc.wantTermination != "" && r.body != tc.wantTermination {
				t.Errorf("termination time: %d %q, want %q", r.status, r.body, tc.wantTermination)
			}
			want := "instance-action"
			if tc.wantTermination != "" {
				want += "\ntermination-time"
			}
			if r := get(t, s, "spot"); r.body != want {
				t.Errorf("the folder lists %q, want %q", r.body, want)
			}
		})
	}
}

func TestANoticeComesAndGoesByScript(t *testing.T) {
	t.Parallel()
	s, clock := newWithClock(t)
	want := func(when string, status int, readable, read time.Time) {
		t.Helper()
		if r := get(t, s, "spot/instance-action"); r.status != status {
			t.Errorf("%s: status %d, want %d", when, r.status, status)
		}
		if got := s.NoticeReadableAt(); !got.Equal(readable) {
			t.Errorf("%s: readable since %s, want %s", when, got, readable)
		}
		if got := s.NoticeReadAt(); !got.Equal(read) {
			t.Errorf("%s: first read at %s, want %s", when, got, read)
		}
	}
	never, appears := time.Time{}, noon.Add(30*time.Second)

	s.TakeBackAfter(time.Second) // of no notice
	s.InterruptAfter(30*time.Second, "terminate", 2*time.Minute)
	s.TakeBackAfter(40 * time.Second)
	want("at first", 404, never, never)
	clock.Advance(29 * time.Second)
	want("a second before", 404, never, never)
	clock.Advance(3 * time.Second)
	want("when it is there", 200, appears, noon.Add(32*time.Second))
	clock.Advance(7 * time.Second)
	want("a second before it goes", 200, appears, noon.Add(32*time.Second))
	clock.Advance(time.Second)
	want("when it went", 404, never, noon.Add(32*time.Second))

	s.Interrupt("stop", noon)
	want("a second notice", 200, noon.Add(40*time.Second), noon.Add(40*time.Second))
	s.TakeBack()
	want("taken back", 404, never, never)
}

func TestAFaultDelaysWhenANoticeIsReadable(t *testing.T) {
	t.Parallel()
	s, clock := newWithClock(t)
	if err := s.SetFault(Unavailable); err != nil {
		t.Fatal(err)
	}
	s.Interrupt("terminate", noon.Add(2*time.Minute))
	if got := s.NoticeReadableAt(); !got.IsZero() {
		t.Errorf("readable since %s under a fault that blinds", got)
	}
	clock.Advance(5 * time.Second)
	if err := s.ClearFault(); err != nil {
		t.Fatal(err)
	}
	cleared := noon.Add(5 * time.Second)
	if got := s.NoticeReadableAt(); !got.Equal(cleared) {
		t.Errorf("readable since %s, want the end of the fault", got)
	}
	clock.Advance(5 * time.Second)
	if err := s.SetFault(NoTime); err != nil {
		t.Fatal(err)
	}
	if got := s.NoticeReadableAt(); !got.Equal(cleared) {
		t.Errorf("readable since %s under a fault that shows it, want the end of the one that hid it", got)
	}
}

func TestWhatElseIsAnnouncedHasTheLayoutOfTheRealService(t *testing.T) {
	t.Parallel()
	const (
		rebalance   = "events/recommendations/rebalance"
		maintenance = "events/maintenance/scheduled"
		target      = "autoscaling/target-lifecycle-state"
	)
	reboot := Event{ID: "instance-event-1", Code: "system-reboot", NotBefore: noon.Add(21 * time.Hour), NotAfter: noon.Add(22 * time.Hour)}
	const active = `{"NotBefore": "23 Nov 2026 09:00:00 GMT", "Code": "system-reboot", "Description": "The instance is scheduled for system-reboot", ` +
		`"EventId": "instance-event-1", "NotAfter": "23 Nov 2026 10:00:00 GMT", "State": "active"}`
	tests := map[string]struct {
		announce func(*Server)
		item     string
		want     string // empty: 404
	}{
		"a recommendation is dated": {
			func(s *Server) { s.Rebalance(0) }, rebalance, `{"noticeTime": "2026-11-22T12:00:00Z"}`,
		},
		"a recommendation by a clock that is ahead": {
			func(s *Server) { s.SetClockOffset(time.Hour); s.Rebalance(0) }, rebalance, `{"noticeTime": "2026-11-22T13:00:00Z"}`,
		},
		"a recommendation to come":           {func(s *Server) { s.Rebalance(time.Second) }, rebalance, ""},
		"a recommendation that ended":        {func(s *Server) { s.Rebalance(0); s.EndRebalance() }, rebalance, ""},
		"an empty list where nothing is":     {func(*Server) {}, maintenance, "[]"},
		"an event on the list":               {func(s *Server) { s.Schedule(0, reboot) }, maintenance, "[" + active + "]"},
		"an event to come":                   {func(s *Server) { s.Schedule(time.Second, reboot) }, maintenance, "[]"},
		"an event that was taken off":        {func(s *Server) { s.Schedule(0, reboot); s.Unschedule("instance-event-1") }, maintenance, "[]"},
		"a later event in place of an early": {func(s *Server) { s.Schedule(0, Event{ID: "instance-event-1"}); s.Schedule(0, reboot) }, maintenance, "[" + active + "]"},
		"two events, one of them cancelled and without its moments": {
			func(s *Server) {
				s.Schedule(0, reboot)
				s.Schedule(0, Event{ID: "instance-event-2", Code: "instance-stop", State: "canceled"})
			}, maintenance,
			"[" + active + `, {"Code": "instance-stop", "Description": "[Canceled] The instance is scheduled for instance-stop", ` +
				`"EventId": "instance-event-2", "State": "canceled"}]`,
		},
		"a target state":                    {func(s *Server) { s.Target(0, "Warmed:Stopped") }, target, "Warmed:Stopped"},
		"no target state outside of groups": {func(s *Server) { s.Target(0, "InService"); s.EndTarget() }, target, ""},
		"an item that was set, until something is announced": {
			func(s *Server) { s.SetItem(target, "InService"); s.Target(0, "Terminated") }, target, "Terminated",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := newWithClock(t)
			tc.announce(s)
			r := get(t, s, tc.item)
			if tc.want == "" && r.status != 404 || tc.want != "" && r.body != tc.want {
				t.Errorf("%s: %d %s, want %s", tc.item, r.status, r.body, tc.want)
			}
			if told := !s.NoticeReadAt().IsZero(); told != (r.status == 200 && r.body != "[]") {
				t.Errorf("the notice counts as read: %t", told)
			}
		})
	}
}
