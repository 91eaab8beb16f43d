package aws_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/metadata"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

// says is what the error under each blinding fault must tell the reader.
var says = map[awstest.Fault]string{
	awstest.Unauthorized:      "401 Unauthorized (the token was not accepted)",
	awstest.Forbidden:         "403 Forbidden (the metadata service is switched off",
	awstest.NotFound:          `reading metadata item "/latest/meta-data/instance-id": 404 Not Found (what answers is not`,
	awstest.TooManyRequests:   "429 Too Many Requests (the metadata service throttles",
	awstest.InternalError:     "500 Internal Server Error",
	awstest.Unavailable:       "503 Service Unavailable (the metadata service throttles",
	awstest.TokenNotFound:     `fetching metadata token "/latest/api/token": 404 Not Found (only IMDSv1 is offered`,
	awstest.UnusableToken:     `fetching metadata token "/latest/api/token": 200 OK: no token in the reply`,
	awstest.HangingToken:      "(with a hop limit of 1 the token never reaches a pod: use hostNetwork or a hop limit of 2)",
	awstest.HangingItem:       `reading metadata item "/latest/meta-data/spot/instance-action": net/http: timeout`,
	awstest.SlowBody:          `instance-action": 404 Not Found: the reply goes on for too long: context deadline exceeded`,
	awstest.HugeBody:          "200 OK: more than 64 KiB of reply",
	awstest.TruncatedJSON:     "unexpected end of JSON input",
	awstest.GarbageJSON:       "invalid character",
	awstest.EmptyBody:         "unexpected end of JSON input",
	awstest.ForeignJSON:       "neither an action nor a time",
	awstest.HTMLPage:          `fetching metadata token "/latest/api/token": 200 OK: no token|is a proxy in the way?`,
	awstest.Redirect:          "302 Found (something redirects requests: is a proxy in the way?)",
	awstest.ConnectionRefused: "connection refused (nothing listens there",
	awstest.ConnectionReset:   "connection reset by peer|EOF",
	awstest.IMDSv1Only403:     "fetching metadata token",
	awstest.IMDSv1Only404:     "(only IMDSv1 is offered here; allow it if that is meant)",
	awstest.IMDSv1Only405:     "(only IMDSv1 is offered here; allow it if that is meant)",
}

// What a poll sees under a fault is the suite's part; this is what it says.
func TestSpotSaysWhatIsInItsWay(t *testing.T) {
	t.Parallel()
	for _, fault := range awstest.Faults() {
		if !fault.Blinds() {
			continue
		}
		for name, polls := range map[string]int{"from the start": 0, "after good polls": 2} {
			t.Run(string(fault)+" "+name, func(t *testing.T) {
				t.Parallel()
				server := awstest.New(t)
				spot := newSpot(t, aws.Options{Endpoint: server.URL()})
				for range polls {
					sourcetest.Poll(t, spot)
				}
				if err := server.SetFault(fault); err != nil {
					t.Fatal(err)
				}
				spot.clock.advance(metadata.TrustedFor) // it would believe NotFound for so long
				_, err := spot.Poll(t.Context())
				checkReadError(t, err, says[fault])
			})
		}
	}
}

func TestFaultsOfTheContentLeaveTheNotice(t *testing.T) {
	t.Parallel()
	tests := map[awstest.Fault]func(s agent.Sighting) bool{
		awstest.UnreadableTime: func(s agent.Sighting) bool { return s.At.IsZero() && !s.ServerTime.IsZero() },
		awstest.NoTime:         func(s agent.Sighting) bool { return s.At.IsZero() && !s.ServerTime.IsZero() },
		awstest.PastTime:       func(s agent.Sighting) bool { return s.At.Before(s.ServerTime.Add(-50 * time.Minute)) },
		awstest.NoDateHeader:   func(s agent.Sighting) bool { return s.ServerTime.IsZero() && !s.At.IsZero() },
	}
	for fault, ok := range tests {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			server.Interrupt("terminate", time.Now().Add(2*time.Minute))
			if err := server.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			if s := sourcetest.Poll(t, newSpot(t, aws.Options{Endpoint: server.URL()}))[0]; !ok(s) {
				t.Errorf("sighting is %+v under %q", s, fault.Doc())
			}
		})
	}
}

func TestADeniedInstanceIDIsNoticedWithinTenSeconds(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{time.Second, 5 * time.Second} {
		t.Run("at a poll every "+interval.String(), func(t *testing.T) {
			t.Parallel()
			server := awstest.New(t)
			spot := newSpot(t, aws.Options{Endpoint: server.URL()})
			sourcetest.Poll(t, spot)
			if err := server.SetFault(awstest.NotFound); err != nil {
				t.Fatal(err)
			}
			var err error
			for passed := interval; err == nil; passed += interval {
				if passed > 10*time.Second {
					t.Fatal("a service that denies everything was believed for more than ten seconds")
				}
				spot.clock.advance(interval)
				_, err = spot.Source.Poll(t.Context())
			}
			// From then on no 404 is believed before the id is there again.
			if _, err := spot.Poll(t.Context()); err == nil {
				t.Error("the poll after believed the 404")
			}
		})
	}
}

func TestABusyServiceIsAskedOnceAPoll(t *testing.T) {
	t.Parallel()
	server := awstest.New(t)
	spot := newSpot(t, aws.Options{Endpoint: server.URL()})
	sourcetest.Poll(t, spot)
	for _, fault := range []awstest.Fault{awstest.TooManyRequests, awstest.InternalError, awstest.Unavailable} {
		if err := server.SetFault(fault); err != nil {
			t.Fatal(err)
		}
		server.ResetRequests()
		for range 5 {
			if _, err := spot.Poll(t.Context()); err == nil {
				t.Errorf("%q: no error", fault)
			}
		}
		want := map[string]int{"GET " + awstest.NoticePath: 5}
		if diff := cmp.Diff(want, server.Requests()); diff != "" {
			t.Errorf("%q: requests (-want +got):\n%s", fault, diff)
		}
	}
}

func TestWhereIMDSv1IsAllowedA401IsBlamedOnTheTokenThatWasNotToBeHad(t *testing.T) {
	t.Parallel()
	server := awstest.New(t)
	if err := server.SetFault(awstest.TokenNotFound); err != nil {
		t.Fatal(err)
	}
	_, err := newSpot(t, aws.Options{Endpoint: server.URL(), AllowIMDSv1: true}).Poll(t.Context())
	checkReadError(t, err, says[awstest.TokenNotFound])
}

func TestAServiceThatFailedIsTrustedAnew(t *testing.T) {
	t.Parallel()
	server := awstest.New(t)
	spot := newSpot(t, aws.Options{Endpoint: server.URL()})
	sourcetest.Poll(t, spot)
	for _, fault := range []awstest.Fault{awstest.Unavailable, awstest.NotFound} {
		if err := server.SetFault(fault); err != nil {
			t.Fatal(err)
		}
		if _, err := spot.Poll(t.Context()); err == nil {
			t.Errorf("%q: no error", fault)
		}
	}
}
