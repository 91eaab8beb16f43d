package stamp_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
	"github.com/ebbtide/ebbtide/agent/stamp"
	"github.com/ebbtide/ebbtide/agent/stamp/stamptest"
)

const itemNotice = "spot/termination-time"

// checkReadError wants a *ReadError of one line that holds want.
func checkReadError(t *testing.T, err error, want string) {
	t.Helper()
	if _, ok := errors.AsType[*metadata.ReadError](err); !ok {
		t.Fatalf("error is %v (%T), want a *ReadError", err, err)
	}
	text := err.Error()
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) || !strings.Contains(text, want) {
		t.Errorf("error is %q, want one line that says %q", text, want)
	}
}

func TestSpotReadsWhatTheCloudSays(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	const unlike = "neither a moment nor anything like one"
	// A pointer to the moment of the sighting; nil wants none.
	moment, unreadable := &at, &time.Time{}
	type saying struct {
		item    string
		want    *time.Time
		wantErr string
	}
	both := map[string]saying{
		"a moment with another zone is read":          {item: "2026-11-22T11:00:00+01:00", want: moment},
		"white space around the moment is nothing":    {item: "\n 2026-11-22T10:00:00Z\r\n", want: moment},
		"a moment in another layout is a notice":      {item: "Sun, 22 Nov 2026 10:00:00 GMT", want: unreadable},
		"a moment without its day's time is a notice": {item: "2026-11-22", want: unreadable},
		"a moment that is cut off is a notice":        {item: "2026-11-22T10:0", want: unreadable},
		"a moment that no calendar has is a notice":   {item: "2026-11-31T25:00:00Z", want: unreadable},
		"seconds since 1970 are a notice":             {item: "1795341600", want: unreadable},
		"a word is no notice":                         {item: "none", wantErr: unlike},
		"an error message is no notice":               {item: "404 page not found", wantErr: unlike},
		"two lines are no notice":                     {item: "2026-11-22\n2026-11-23", wantErr: unlike},
		"a web page is no notice":                     {item: "<html>2026-11-22 10:00:00</html>", wantErr: unlike},
		"a document is no notice":                     {item: `{"time": "2026-11-22T10:00:00Z"}`, wantErr: unlike},
		"a novel about dates is no notice":            {item: strings.Repeat("2026-11-22 ", 6), wantErr: unlike},
		"more than 64 KiB are not read":               {item: "2026-11-22T10:00:00Z" + strings.Repeat(" ", 64<<10), wantErr: "more than 64 KiB"},
	}
	single := map[stamptest.Cloud]map[string]saying{
		stamptest.Alibaba: {
			"a moment in UTC is read":             {item: "2026-11-22T10:00:00Z", want: moment},
			"a moment without a zone is a notice": {item: "2026-11-22 18:00:00", want: unreadable},
			"an empty item says none":             {item: ""},
			"an item of white space says none":    {item: " \n"},
		},
		stamptest.Tencent: {
			"a moment without a zone is in UTC+8": {item: "2026-11-22 18:00:00", want: moment},
			"a moment in UTC is read":             {item: "2026-11-22T10:00:00Z", want: moment},
			"an empty item is no answer":          {item: "", wantErr: unlike},
		},
	}
	each(t, func(t *testing.T, b brand) {
		for _, sayings := range []map[string]saying{both, single[b.cloud]} {
			for name, tc := range sayings {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					server, spot := b.start(t, stamptest.Options{})
					server.SetItem(itemNotice, tc.item)
					got, err := spot.Poll(t.Context())
					if tc.wantErr != "" {
						checkReadError(t, err, tc.wantErr)
						return
					}
					if err != nil {
						t.Fatalf("Poll: %v", err)
					}
					var want []agent.Sighting
					if tc.want != nil {
						want = append(want, agent.Sighting{
							Kind: agent.SpotInterruption, Action: agent.Terminate, State: agent.Scheduled,
							At: *tc.want, Nominal: b.lead, Raw: tc.item,
						})
					}
					ignored := cmpopts.IgnoreFields(agent.Sighting{}, "ServerTime")
					if diff := cmp.Diff(want, got, ignored, cmpopts.EquateApproxTime(0)); diff != "" {
						t.Errorf("sightings (-want +got):\n%s", diff)
					}
				})
			}
		}
	})
}

// stranger answers each path by what, and hands out tokens to whoever asks.
func stranger(t *testing.T, what func(path string) (int, string)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body := http.StatusOK, "a-token"
		if r.Method == http.MethodGet {
			status, body = what(r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestAStrangerAtTheAddressIsNotBelieved(t *testing.T) {
	t.Parallel()
	always := func(status int, body string) func(string) (int, string) {
		return func(string) (int, string) { return status, body }
	}
	tests := map[string]struct {
		what    func(path string) (int, string)
		wantErr string
	}{
		"who has nothing": {always(404, ""), `item "` + stamptest.InstancePath + `": 404`},
		"who has nothing but a page for the id": {func(path string) (int, string) {
			if path == stamptest.InstancePath {
				return 200, "<html>sign in</html>"
			}
			return 404, ""
		}, "not the id of an instance"},
		"who says nothing about everything":     {always(200, ""), "is a proxy in the way?"},
		"who tells everyone their own address":  {always(200, "192.168.100.200"), "not the id of an instance"},
		"who tells everyone the time in a form": {always(200, "22/11/2026"), "not the id of an instance"},
		"who greets":                            {always(200, "ok"), "not a moment of termination"},
	}
	each(t, func(t *testing.T, b brand) {
		for name, tc := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				spot, err := b.make(stamp.Options{Endpoint: stranger(t, tc.what)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(spot.Close)
				for range 2 {
					sightings, err := spot.Poll(t.Context())
					if len(sightings) > 0 {
						t.Errorf("it is believed: %+v", sightings)
					}
					checkReadError(t, err, tc.wantErr)
				}
			})
		}
	})
}

// The service of another instance says 404 as well, and never of this one's end.
func TestTheServiceOfAnotherInstanceIsNoCalm(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b brand) {
		server, _ := b.start(t, stamptest.Options{})
		server.SetItem("instance-id", "i-another")
		for _, tc := range []struct{ instance, wantErr string }{
			{"", ""},
			{"i-another", ""},
			{"i-this", `parsing "i-another": want "i-this" (this is not the id of this instance`},
		} {
			spot, err := b.make(stamp.Options{Endpoint: server.URL(), Instance: tc.instance})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(spot.Close)
			sightings, err := spot.Poll(t.Context())
			if tc.wantErr != "" {
				checkReadError(t, err, tc.wantErr)
			} else if err != nil || len(sightings) > 0 {
				t.Errorf("of instance %q it says %+v, %v", tc.instance, sightings, err)
			}
		}
	})
}

func TestInstancesAreNamedAfterTheirNodes(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"cn-hangzhou.i-bp1ebb71de":                          "i-bp1ebb71de",
		"alicloud://cn-hangzhou.i-bp1ebb71de":               "i-bp1ebb71de",
		"qcloud:///800006/ins-ebb71de0":                     "ins-ebb71de0",
		"qcloud://ap-guangzhou/ins-ebb71de0":                "ins-ebb71de0",
		"qcloud:///800006/eks-ebb71de0":                     "",
		"aws:///eu-central-1a/i-0ebb71de0ebb71de0":          "",
		"gce://project/europe-west1.i-b/cn-hangzhou.i-ebb7": "",
		"": "",
	} {
		if got := stamp.InstanceID(id); got != want {
			t.Errorf("InstanceID(%q) = %q, want %q", id, got, want)
		}
	}
}

func TestAnErrorNamesTheLikelyCause(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		brand brand
		fault metadatatest.Fault
		want  string
	}{
		"a service that is switched off":   {brands[0], metadatatest.Forbidden, "switched off"},
		"a token that does not arrive":     {brands[0], metadatatest.HangingToken, "hostNetwork"},
		"a token that is not to be had":    {brands[0], metadatatest.TokenNotFound, "hands out no tokens"},
		"a token that is not accepted":     {brands[0], metadatatest.Unauthorized, "token was not accepted"},
		"a token that no header can carry": {brands[0], metadatatest.UnusableToken, "no token in the reply"},
		"another cloud than Alibaba":       {brands[0], metadatatest.NotFound, "not the ECS metadata service"},
		"another cloud than Tencent":       {brands[1], metadatatest.NotFound, "not the CVM metadata service"},
		"a name that is not known":         {brands[1], metadatatest.ConnectionRefused, "resolvers of the VPC"},
		"a service that is asked too much": {brands[1], metadatatest.TooManyRequests, "throttles"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, spot := tc.brand.start(t, stamptest.Options{})
			if err := server.SetFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			_, err := spot.Poll(t.Context())
			checkReadError(t, err, tc.want)
		})
	}
}

func TestARefusedTokenIsReplacedInTheSamePoll(t *testing.T) {
	t.Parallel()
	expire := func(s *stamptest.Server) error {
		s.ExpireTokens()
		return nil
	}
	fault := func(f metadatatest.Fault) func(*stamptest.Server) error {
		return func(s *stamptest.Server) error { return s.SetFault(f) }
	}
	for name, tc := range map[string]struct {
		warm    bool // a token is held
		happens func(*stamptest.Server) error
		wantErr bool
		items   int // requests
		tokens  int
	}{
		"when it has expired":                   {true, expire, false, 2, 1},
		"when it is refused as forbidden":       {true, fault(metadatatest.Forbidden), true, 1, 1},
		"but not twice":                         {true, fault(metadatatest.Unauthorized), true, 2, 1},
		"but not when it was new":               {false, fault(metadatatest.Unauthorized), true, 1, 1},
		"but not when the service has a fault":  {true, fault(metadatatest.InternalError), true, 1, 0},
		"but not when the service is throttled": {true, fault(metadatatest.TooManyRequests), true, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, spot := brands[0].start(t, stamptest.Options{})
			if tc.warm {
				sourcetest.Poll(t, spot)
			}
			server.ResetRequests()
			if err := tc.happens(server); err != nil {
				t.Fatal(err)
			}
			if _, err := spot.Poll(t.Context()); (err != nil) != tc.wantErr {
				t.Errorf("Poll: %v", err)
			}
			want := map[string]int{"GET " + stamptest.NoticePath: tc.items}
			if tc.tokens > 0 {
				want["PUT "+stamptest.TokenPath] = tc.tokens
			}
			if diff := cmp.Diff(want, server.Requests()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestATokenThatEndsInAnotherWayCostsOnePoll(t *testing.T) {
	t.Parallel()
	// A service that says 404 of everything to whoever has no token that it knows.
	issued := 0
	var valid string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			issued++
			valid = strings.Repeat("t", issued)
			_, _ = w.Write([]byte(valid))
		case r.URL.Path == stamptest.InstancePath && r.Header.Get("X-aliyun-ecs-metadata-token") == valid:
			_, _ = w.Write([]byte("i-1"))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	spot, err := stamp.NewAlibaba(stamp.Options{Endpoint: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spot.Close)
	sourcetest.Poll(t, spot)
	valid = "another"
	spot.Age(time.Minute)
	if _, err := spot.Poll(t.Context()); err == nil {
		t.Error("it is calm about what it cannot see")
	}
	sourcetest.Poll(t, spot)
	if issued != 2 {
		t.Errorf("%d tokens were issued, want 2", issued)
	}
}

func TestSpotIsPolledAsItsOptionsSay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b brand) {
		for name, tc := range map[string]struct {
			options stamp.Options
			want    agent.Pace
		}{
			"by default": {
				stamp.Options{},
				agent.Pace{Every: b.every, Timeout: time.Second, BlindAfter: 10 * time.Second},
			},
			"at another interval, and with less patience": {
				stamp.Options{Endpoint: nowhere, PollInterval: time.Second, Timeout: 500 * time.Millisecond},
				agent.Pace{Every: time.Second, Timeout: 500 * time.Millisecond, BlindAfter: 10 * time.Second},
			},
		} {
			spot, err := b.make(tc.options)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(tc.want, spot.Pace()); diff != "" {
				t.Errorf("%s: pace (-want +got):\n%s", name, diff)
			}
			if spot.Provider() != string(b.cloud) {
				t.Errorf("the provider is %q", spot.Provider())
			}
		}
		for name, o := range map[string]stamp.Options{
			"an endpoint that is no URL":  {Endpoint: "127.0.0.1:1338"},
			"a timeout below zero":        {Endpoint: nowhere, Timeout: -time.Second},
			"a timeout beyond one second": {Endpoint: nowhere, Timeout: 1001 * time.Millisecond},
			"an interval below zero":      {Endpoint: nowhere, PollInterval: -time.Second},
			"an interval beyond the most": {Endpoint: nowhere, PollInterval: 5001 * time.Millisecond},
		} {
			if _, err := b.make(o); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}
