package aws_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/metadata"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

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

func TestItemsArePolledAtTheirPace(t *testing.T) {
	t.Parallel()
	others := map[string]agent.Pace{
		"rebalance":   {Every: 10 * time.Second, Timeout: 15 * time.Second, BlindAfter: time.Minute},
		"maintenance": {Every: time.Minute, Timeout: 15 * time.Second, BlindAfter: 3 * time.Minute},
		"lifecycle":   {Every: 10 * time.Second, Timeout: 15 * time.Second, BlindAfter: 30 * time.Second},
	}
	tests := map[string]struct {
		options aws.Options
		spot    agent.Pace
	}{
		"the interruption each second by default": {
			aws.Options{Endpoint: nowhere},
			agent.Pace{Every: time.Second, Timeout: time.Second, BlindAfter: 10 * time.Second},
		},
		"the interruption at another interval, and with less patience": {
			aws.Options{Endpoint: nowhere, PollInterval: 5 * time.Second, Timeout: 500 * time.Millisecond},
			agent.Pace{Every: 5 * time.Second, Timeout: 500 * time.Millisecond, BlindAfter: 10 * time.Second},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, got := maps.Clone(others), map[string]agent.Pace{}
			want["spot"] = tc.spot
			for name, source := range newSources(t, tc.options) {
				got[name] = source.Pace()
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("paces (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewSourcesRefusesOptionsItCannotUse(t *testing.T) {
	t.Parallel()
	tests := map[string]aws.Options{
		"an endpoint that is no URL":         {Endpoint: "127.0.0.1:1338"},
		"an endpoint of IPv6 in no brackets": {Endpoint: "http://fd00:ec2::254"},
		"a timeout below zero":               {Endpoint: nowhere, Timeout: -time.Second},
		"a timeout beyond one second":        {Endpoint: nowhere, Timeout: 1001 * time.Millisecond},
		"an interval below a second":         {Endpoint: nowhere, PollInterval: 999 * time.Millisecond},
		"an interval beyond the most":        {Endpoint: nowhere, PollInterval: 5001 * time.Millisecond},
		"a lifecycle notice below zero":      {Endpoint: nowhere, LifecycleNotice: -time.Minute},
		"a longer one than hooks can have":   {Endpoint: nowhere, LifecycleNotice: 2*time.Hour + time.Second},
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if sources, err := aws.NewSources(o); err == nil {
				t.Errorf("NewSources returned %d sources and no error", len(sources))
			}
		})
	}
}

func TestTheEndpointsOfEC2CanBeUsed(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{aws.DefaultEndpoint, aws.IPv6Endpoint} {
		if err := aws.CheckEndpoint(endpoint); err != nil {
			t.Error(err)
		}
		if _, err := aws.NewSources(aws.Options{Endpoint: endpoint}); err != nil {
			t.Error(err)
		}
	}
}

func TestAServiceIsReadOverIPv6(t *testing.T) {
	t.Parallel()
	server, err := awstest.Start(awstest.Options{Listen: net.JoinHostPort("::1", "0")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	server.Interrupt("terminate", time.Now().Add(time.Minute))
	if !strings.HasPrefix(server.URL(), "http://[::1]:") {
		t.Fatalf("the fake is at %s", server.URL())
	}
	if got := sourcetest.Poll(t, newSpot(t, aws.Options{Endpoint: server.URL()})); len(got) != 1 {
		t.Errorf("Poll = %v, want the notice", got)
	}
}

func TestTheServiceMustBeThatOfThisInstance(t *testing.T) {
	t.Parallel()
	const here, there = "i-0ebb71de0ebb71de0", "i-00000000000000000"
	tests := map[string]struct {
		instance string // what is known of it
		id       string // what the service says
		wantErr  string
	}{
		"any will do where nothing is known": {id: there},
		"this one":                           {instance: here, id: here},
		"another one":                        {instance: here, id: there, wantErr: `want "i-0ebb71de0ebb71de0"`},
		"no id at all":                       {id: "sign in, please", wantErr: "not an id"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			server.SetItem("instance-id", tc.id)
			_, err := newSpot(t, aws.Options{Endpoint: server.URL(), Instance: tc.instance}).Poll(t.Context())
			switch {
			case tc.wantErr != "":
				checkReadError(t, err, tc.wantErr)
			case err != nil:
				t.Errorf("Poll: %v", err)
			}
		})
	}
}

func TestANodeIsTheInstanceOfItsProviderID(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"aws:///eu-central-1a/i-0ebb71de0ebb71de0": "i-0ebb71de0ebb71de0",
		"aws:////i-0ebb71de":                       "i-0ebb71de",
		"aws:///i-0ebb71de":                        "i-0ebb71de",
		"aws:///eu-central-1a/0ebb/fargate-ip-10-0-0-1.eu-central-1.compute.internal": "",
		"gce://project/zone/i-0ebb71de":                                               "",
		"":                                                                            "",
	}
	for id, want := range tests {
		if got := aws.InstanceID(id); got != want {
			t.Errorf("InstanceID(%q) = %q, want %q", id, got, want)
		}
	}
}

func TestSourcesPolledAtTheSameTimeShareOneToken(t *testing.T) {
	t.Parallel()
	server := awstest.New(t)
	sources := newSources(t, aws.Options{Endpoint: server.URL()})
	all := func() {
		server.ResetRequests()
		var polls sync.WaitGroup
		for _, source := range sources {
			polls.Go(func() {
				if sightings, err := source.Source.Poll(t.Context()); err != nil || len(sightings) > 0 {
					t.Errorf("%s: %+v, %v", source.Name(), sightings, err)
				}
			})
		}
		polls.Wait()
		if tokens := server.Requests()["PUT "+awstest.TokenPath]; tokens != 1 {
			t.Errorf("%d tokens were fetched, want 1: %v", tokens, server.Requests())
		}
	}
	all()
	server.ExpireTokens()
	sources["spot"].clock.advance(5 * time.Second)
	delete(sources, "spot") // which cannot wait for so long as all together need
	all()
}
