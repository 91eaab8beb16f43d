package aws_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/metadata"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

func newSpot(t *testing.T, o aws.Options) *aws.Spot {
	t.Helper()
	spot, err := aws.NewSpot(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spot.Close)
	return spot
}

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

// checkReadError wants a *ReadError of one line that holds one of the texts
// separated by a bar.
func checkReadError(t *testing.T, err error, want string) {
	t.Helper()
	if _, ok := errors.AsType[*metadata.ReadError](err); !ok {
		t.Fatalf("error is %v (%T), want a *ReadError", err, err)
	}
	text := err.Error()
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
		t.Errorf("error is not one line of text: %q", text)
	}
	for alternative := range strings.SplitSeq(want, "|") {
		if strings.Contains(text, alternative) {
			return
		}
	}
	t.Errorf("error is %q, want it to say %q", text, want)
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

func TestSpotSendsLittle(t *testing.T) {
	t.Parallel()
	const polls = 60 // a minute at one a second
	for name, action := range map[string]string{"idle": "", "while a notice stands": "terminate"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			if action != "" {
				server.Interrupt(action, time.Now().Add(time.Minute))
			}
			spot := newSpot(t, aws.Options{Endpoint: server.URL()})
			for range polls {
				sourcetest.Poll(t, spot)
				spot.Age(time.Second)
			}
			sent := 0
			for _, count := range server.Requests() {
				sent += count
			}
			if limit := polls * 12 / 10; sent > limit {
				t.Errorf("%d polls sent %d requests, want at most %d: %v", polls, sent, limit, server.Requests())
			}
			if tokens := server.Requests()["PUT "+awstest.TokenPath]; tokens != 1 {
				t.Errorf("%d tokens were fetched, want 1", tokens)
			}
		})
	}
}

func TestSpotFetchesANewTokenInTheSamePoll(t *testing.T) {
	t.Parallel()
	server := awstest.New(t)
	spot := newSpot(t, aws.Options{Endpoint: server.URL()})
	sourcetest.Poll(t, spot)
	server.ExpireTokens()
	server.ResetRequests()
	sourcetest.Poll(t, spot)
	want := map[string]int{"GET " + awstest.NoticePath: 2, "PUT " + awstest.TokenPath: 1}
	if diff := cmp.Diff(want, server.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestSpotReusesTheConnectionWhereTheServerLetsIt(t *testing.T) {
	t.Parallel()
	for name, keepAlive := range map[string]bool{"a server that keeps it": true, "a server that closes it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := awstest.Start(awstest.Options{KeepAlive: keepAlive})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			spot := newSpot(t, aws.Options{Endpoint: server.URL()})
			dialled := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				GotConn: func(info httptrace.GotConnInfo) {
					if !info.Reused {
						dialled++
					}
				},
			})
			for range 5 {
				if _, err := spot.Poll(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if reused := dialled == 1; reused != keepAlive {
				t.Errorf("5 polls dialled %d times", dialled)
			}
		})
	}
}

func TestSpotIgnoresTheEnvironment(t *testing.T) {
	t.Parallel()
	server := awstest.New(t)

	// An address that net/http would send through a proxy, unlike 127.0.0.1,
	// and that still stays on this machine.
	endpoint := strings.Replace(server.URL(), "127.0.0.1", "0.0.0.0", 1)
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: target}); err != nil || proxy == nil {
		t.Fatalf("the environment sets no proxy for %s, so this test shows nothing (%v)", endpoint, err)
	}
	if _, err := imds.New(imds.Options{}).GetMetadata(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "disabled") {
		t.Fatalf("the environment does not disable the SDK's client, so this test shows nothing (%v)", err)
	}

	server.Interrupt("terminate", time.Now().Add(time.Minute))
	if got := sourcetest.Poll(t, newSpot(t, aws.Options{Endpoint: endpoint})); len(got) != 1 {
		t.Errorf("Poll = %v, want the notice", got)
	}
}

func TestPollEndsWithItsContext(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 10)
	server, err := awstest.Start(awstest.Options{Trace: func(awstest.Request) { asked <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	if err := server.SetFault(awstest.HangingToken); err != nil {
		t.Fatal(err)
	}
	spot := newSpot(t, aws.Options{Endpoint: server.URL()})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := spot.Poll(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want one that wraps context.Canceled", err)
	}
	if _, err := spot.Poll(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended, error is %v, want one that wraps context.Canceled", err)
	}
}

func TestSpotIsPolledAsItsOptionsSay(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		options aws.Options
		want    agent.Pace
	}{
		"each second by default": {
			aws.Options{Endpoint: nowhere},
			agent.Pace{Every: time.Second, Timeout: time.Second, BlindAfter: 10 * time.Second},
		},
		"at another interval, and with less patience": {
			aws.Options{Endpoint: nowhere, PollInterval: 5 * time.Second, Timeout: 500 * time.Millisecond},
			agent.Pace{Every: 5 * time.Second, Timeout: 500 * time.Millisecond, BlindAfter: 10 * time.Second},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, newSpot(t, tc.options).Pace()); diff != "" {
				t.Errorf("pace (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewSpotRefusesOptionsItCannotUse(t *testing.T) {
	t.Parallel()
	tests := map[string]aws.Options{
		"an endpoint that is no URL":  {Endpoint: "127.0.0.1:1338"},
		"a timeout below zero":        {Endpoint: nowhere, Timeout: -time.Second},
		"a timeout beyond one second": {Endpoint: nowhere, Timeout: 1001 * time.Millisecond},
		"an interval below zero":      {Endpoint: nowhere, PollInterval: -time.Second},
		"an interval beyond the most": {Endpoint: nowhere, PollInterval: 5001 * time.Millisecond},
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := aws.NewSpot(o); err == nil {
				t.Error("NewSpot returned no error")
			}
		})
	}
}
