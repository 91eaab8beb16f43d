package aws_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

func TestSpotReadsWhatTheCloudSays(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	scheduled := agent.Sighting{
		Kind: agent.SpotInterruption, Action: agent.Terminate, State: agent.Scheduled,
		At: at, Nominal: 2 * time.Minute,
	}
	with := func(change func(*agent.Sighting)) []agent.Sighting {
		s := scheduled
		change(&s)
		return []agent.Sighting{s}
	}
	tests := map[string]struct {
		item    string // empty: the item is not there
		want    []agent.Sighting
		wantErr string
	}{
		"nothing is said when the item is not there": {},
		"a termination is two minutes' notice": {
			item: `{"action": "terminate", "time": "2026-11-22T10:00:00Z"}`,
			want: with(func(*agent.Sighting) {}),
		},
		"a stop is two minutes' notice": {
			item: `{"action": "stop", "time": "2026-11-22T10:00:00Z"}`,
			want: with(func(s *agent.Sighting) { s.Action = agent.Stop }),
		},
		"another layout of the document changes nothing": {
			item: "{\n\t\"time\":\"2026-11-22T11:00:00+01:00\",\n\t\"action\":\"terminate\", \"more\":[1]\n}\n",
			want: with(func(*agent.Sighting) {}),
		},
		"an action that AWS invents later is kept": {
			item: `{"action": "evaporate", "time": "2026-11-22T10:00:00Z"}`,
			want: with(func(s *agent.Sighting) { s.Action = "evaporate" }),
		},
		"an action that is no string is kept as it is written": {
			item: `{"action": {"name": "stop"}, "time": "2026-11-22T10:00:00Z"}`,
			want: with(func(s *agent.Sighting) { s.Action = `{"name": "stop"}` }),
		},
		"a notice without an action is a notice": {
			item: `{"time": "2026-11-22T10:00:00Z"}`,
			want: with(func(s *agent.Sighting) { s.Action = "" }),
		},
		"a notice without a time is a notice": {
			item: `{"action": "terminate"}`,
			want: with(func(s *agent.Sighting) { s.At = time.Time{} }),
		},
		"a notice whose time is null is a notice": {
			item: `{"action": "terminate", "time": null}`,
			want: with(func(s *agent.Sighting) { s.At = time.Time{} }),
		},
		"a notice whose time is a number is a notice": {
			item: `{"action": "terminate", "time": 1795341600}`,
			want: with(func(s *agent.Sighting) { s.At = time.Time{} }),
		},
		"a notice whose time cannot be read is a notice": {
			item: `{"action": "terminate", "time": "22 Nov 2026 10:00:00 GMT"}`,
			want: with(func(s *agent.Sighting) { s.At = time.Time{} }),
		},
		"an empty reply is no notice":           {item: " ", wantErr: "unexpected end of JSON input"},
		"a web page is no notice":               {item: "<html>sign in</html>", wantErr: `parsing "<html>sign in</html>"`},
		"half a document is no notice yet":      {item: `{"action": "termi`, wantErr: "unexpected end of JSON input"},
		"a document with a tail is no notice":   {item: `{"action": "stop"} {}`, wantErr: "after top-level value"},
		"a document about others is no notice":  {item: `{"error": "slow down"}`, wantErr: "neither an action nor a time"},
		"null is no notice":                     {item: `null`, wantErr: "neither an action nor a time"},
		"a list is no notice":                   {item: `[{"action": "stop"}]`, wantErr: "cannot unmarshal array"},
		"a document of over 64 KiB is not read": {item: padded(64<<10 + 1), wantErr: "more than 64 KiB"},
		"a document of 64 KiB is read": {
			item: padded(64 << 10),
			want: with(func(s *agent.Sighting) { s.At = time.Time{} }),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			if tc.item != "" {
				server.SetItem("spot/instance-action", tc.item)
			}
			got, err := newSpot(t, aws.Options{Endpoint: server.URL()}).Poll(t.Context())
			if tc.wantErr != "" {
				checkReadError(t, err, tc.wantErr)
				return
			}
			if err != nil {
				t.Fatalf("Poll: %v", err)
			}
			ignored := cmpopts.IgnoreFields(agent.Sighting{}, "ServerTime", "Raw")
			if diff := cmp.Diff(tc.want, got, ignored, cmpopts.EquateApproxTime(0)); diff != "" {
				t.Errorf("sightings (-want +got):\n%s", diff)
			}
			for _, s := range got {
				if !strings.HasPrefix(tc.item, s.Raw) || len(s.Raw) != min(len(tc.item), agent.MaxRaw) {
					t.Errorf("Raw = %q, want the reply's first %d bytes", s.Raw, agent.MaxRaw)
				}
			}
		})
	}
}

// padded is a notice of that many bytes.
func padded(size int) string {
	const before, after = `{"action": "terminate", "padding": "`, `"}`
	return before + strings.Repeat("x", size-len(before)-len(after)) + after
}

func TestSpotTakesTheCloudsClockFromTheSameReply(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		offset time.Duration
		action string
		wantAt time.Duration // after the reply's Date
	}{
		"both clocks agree":                       {action: "terminate", wantAt: 2 * time.Minute},
		"our clock is an hour slow":               {action: "terminate", offset: time.Hour, wantAt: 2 * time.Minute},
		"our clock is a day fast":                 {action: "stop", offset: -24 * time.Hour, wantAt: 2 * time.Minute},
		"hibernation begins whatever time it has": {action: "hibernate", offset: time.Hour, wantAt: 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			server.SetClockOffset(tc.offset)
			server.Interrupt(tc.action, time.Now().Add(2*time.Minute))
			s := sourcetest.Poll(t, newSpot(t, aws.Options{Endpoint: server.URL()}))[0]

			if off := time.Until(s.ServerTime) - tc.offset; off.Abs() > 10*time.Second {
				t.Errorf("ServerTime %s is %s off the cloud's clock", s.ServerTime, off)
			}
			// The service cuts both to whole seconds, and the two are read one after
			// the other.
			if got := s.At.Sub(s.ServerTime); got < tc.wantAt-10*time.Second || got > tc.wantAt+time.Second {
				t.Errorf("At is %s after ServerTime, want %s", got, tc.wantAt)
			}
			if hibernates := s.Action == agent.Hibernate; hibernates != (s.Nominal == 0) || hibernates != (s.State == agent.Started) {
				t.Errorf("action %q has state %q and %s of notice", s.Action, s.State, s.Nominal)
			}
		})
	}
}

func TestSpotSeesANoticeComeAndGo(t *testing.T) {
	t.Parallel()
	server := awstest.New(t)
	spot := newSpot(t, aws.Options{Endpoint: server.URL()})
	if got := sourcetest.Poll(t, spot); len(got) != 0 {
		t.Errorf("before the notice: %v", got)
	}
	server.Interrupt("terminate", time.Now().Add(time.Minute))
	if got := sourcetest.Poll(t, spot); len(got) != 1 {
		t.Errorf("with the notice: %v", got)
	}
	server.TakeBack()
	if got := sourcetest.Poll(t, spot); len(got) != 0 {
		t.Errorf("after the notice: %v", got)
	}
}
