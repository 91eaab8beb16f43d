package gcp_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/gcp"
	"github.com/ebbtide/ebbtide/agent/gcp/gcptest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

// one polls and wants one notice.
func one(t *testing.T, s agent.Source) agent.Sighting {
	t.Helper()
	sightings := sourcetest.Poll(t, s)
	if len(sightings) != 1 {
		t.Fatalf("sightings are %+v, want one", sightings)
	}
	return sightings[0]
}

// none polls and wants no notice.
func none(t *testing.T, s agent.Source) {
	t.Helper()
	if sightings := sourcetest.Poll(t, s); len(sightings) > 0 {
		t.Fatalf("sightings are %+v, want none", sightings)
	}
}

// heldServer is a server with a channel of the long polls that have arrived.
func heldServer(t *testing.T) (server *gcptest.Server, arrived chan string) {
	t.Helper()
	arrived = make(chan string, 100)
	return startServer(t, gcptest.Options{Arrived: func(r metadatatest.Request) {
		if r.Query != "" {
			select {
			case arrived <- r.Query:
			default:
			}
		}
	}}), arrived
}

func TestAPreemptionIsSeenWhileThePollWaits(t *testing.T) {
	t.Parallel()
	server, arrived := heldServer(t)
	p := newPreempted(t, server)
	none(t, p)
	for len(arrived) > 0 {
		<-arrived // that of the scheduling options
	}
	preempted := make(chan time.Time, 1)
	go func() {
		<-arrived
		preempted <- time.Now()
		server.Preempt(0)
	}()
	s := one(t, p)
	took := time.Since(<-preempted)
	t.Logf("seen %s after it began", took)
	if took > 2*time.Second { // far below the hold of 5 s
		t.Errorf("seen %s after it began, want at once", took)
	}
	if s.Kind != agent.SpotInterruption || s.Action != agent.Terminate || s.State != agent.Started || s.Raw != "TRUE" {
		t.Errorf("sighting is %+v", s)
	}
	// The key names no moment, but the poll saw it turn.
	if left := s.At.Sub(s.ServerTime); left > 30*time.Second || left < 29*time.Second {
		t.Errorf("%s are left, want 30s", left)
	}
	queries := slices.DeleteFunc(server.Log(), func(r metadatatest.Request) bool {
		return r.Path != gcptest.PreemptedPath || r.Query == ""
	})
	if len(queries) != 1 || !strings.HasPrefix(queries[0].Query, "last_etag=") ||
		!strings.HasSuffix(queries[0].Query, "&timeout_sec=5&wait_for_change=true") {
		t.Errorf("long polls are %+v", queries)
	}
}

func TestTheMomentIsReckonedFromWhenTheKeyTurned(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		setup func(*gcptest.Server, *gcp.Preempted)
		least time.Duration // of what is left; 0: no moment is told
		most  time.Duration
	}{
		"not where no one was looking": {
			func(server *gcptest.Server, _ *gcp.Preempted) { server.Preempt(0) }, 0, 0,
		},
		"from the last none where a failure was between": {
			func(server *gcptest.Server, p *gcp.Preempted) {
				_, _ = p.Poll(context.Background())
				_ = server.SetFault(metadatatest.Unavailable)
				_, _ = p.Poll(context.Background())
				server.Preempt(0)
				_ = server.ClearFault()
			}, 20 * time.Second, 30 * time.Second,
		},
		"by the extended notice where there is one": {
			func(server *gcptest.Server, p *gcp.Preempted) {
				server.SetKey("scheduling/", `{"preemptionNoticeDuration":{"seconds":"120"}}`)
				_, _ = p.Poll(context.Background())
				server.Preempt(0)
			}, 110 * time.Second, 120 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startServer(t, gcptest.Options{Second: second})
			p := newPreempted(t, server)
			p.Hasten(second)
			tc.setup(server, p)
			s := one(t, p)
			if tc.most == 0 {
				if !s.At.IsZero() {
					t.Errorf("moment is %s, and no one saw the key turn", s.At)
				}
				return
			}
			if left := s.At.Sub(s.ServerTime); left > tc.most || left < tc.least {
				t.Errorf("%s are left, want %s at most", left, tc.most)
			}
		})
	}
}

func TestAMomentThatNoOneSawIsNotMadeUpLater(t *testing.T) {
	t.Parallel()
	// The server ends long polls half way, which looks like a change.
	server := startServer(t, gcptest.Options{Second: second / 2})
	p := newPreempted(t, server)
	p.Hasten(second)
	server.Preempt(0)
	for range 3 {
		if s := one(t, p); !s.At.IsZero() {
			t.Errorf("moment is %s, and no one saw the key turn", s.At)
		}
	}
}

func TestAServerThatDoesNotHoldRequestsIsNotAskedWithoutEnd(t *testing.T) {
	t.Parallel()
	for _, fault := range []metadatatest.Fault{gcptest.IgnoredWait, gcptest.NoETag, metadatatest.Forbidden} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			server := startServer(t, gcptest.Options{})
			if err := server.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			p := newPreempted(t, server)
			began := time.Now()
			const polls = 5
			for range polls {
				_, _ = p.Poll(t.Context())
			}
			// The first two come at once: nothing is known of the server then. Three
			// pauses of a second follow.
			if took := time.Since(began); took < 3*time.Second {
				t.Errorf("%d polls took %s: %v", polls, took, server.Requests())
			}
		})
	}
}

func TestAPlainGETComesBetweenLongPolls(t *testing.T) {
	t.Parallel()
	server := startServer(t, gcptest.Options{Second: second})
	p := newPreempted(t, server)
	p.Hasten(second)
	none(t, p)
	none(t, p)
	p.LookAgain()
	none(t, p)
	none(t, p)
	var got []bool
	for _, r := range server.Log() {
		if r.Path == gcptest.PreemptedPath {
			got = append(got, r.Query != "")
		}
	}
	if want := []bool{false, true, false, true}; !slices.Equal(got, want) {
		t.Errorf("polls that waited: %v, want %v", got, want)
	}
}

func TestASourceThatHangsIsNoticedBeforeItIsBlind(t *testing.T) {
	t.Parallel()
	server := startServer(t, gcptest.Options{})
	p := newPreempted(t, server)
	none(t, p)
	if err := server.SetFault(metadatatest.HangingItem); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := p.Poll(t.Context())
	if took := time.Since(began); err == nil || took > 8*time.Second {
		t.Errorf("after %s: %v, want an error in 6s or so", took, err)
	}
	if err := server.ClearFault(); err != nil {
		t.Fatal(err)
	}
	server.Preempt(0)
	again := time.Now()
	one(t, p)
	if took := time.Since(again); took > 2*time.Second {
		t.Errorf("the poll after took %s, want a look without delay", took)
	}
}

func TestErrorsNameWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	const item = `reading metadata item "/computeMetadata/v1/instance/preempted": `
	for name, tc := range map[string]struct {
		fault metadatatest.Fault
		want  string
	}{
		"GKE's server without hostNetwork": {
			gcptest.HiddenKeys, item + "404 Not Found (the GKE metadata server hides this key from pods: use hostNetwork)",
		},
		"a stranger with items of his own": {
			metadatatest.NotFound, item + "404 Not Found (what answers is not the metadata server of Compute Engine)",
		},
		"a stranger who says what Google's server does": {
			gcptest.OtherFlavor, item + `200 OK: parsing "FALSE": the reply is not marked Metadata-Flavor: Google ` +
				"(this is not a reply of the metadata server: is a proxy in the way?)",
		},
		"a server that is switched off": {
			metadatatest.Forbidden, item + "403 Forbidden (the metadata server is switched off for this instance, " +
				"or a proxy that forwards requests is in the way)",
		},
		"a value of another key": {
			metadatatest.ForeignJSON, item + `200 OK: parsing "{\"error\": {\"code\": 7, \"message\": \"try later\"}}": ` +
				"not a value of this key (this is not TRUE or FALSE: is a proxy in the way?)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startServer(t, gcptest.Options{})
			if err := server.SetFault(tc.fault); err != nil {
				t.Fatal(err)
			}
			p, m := newPreempted(t, server), newMaintenanceEvent(t, server)
			if _, err := p.Poll(t.Context()); err == nil || err.Error() != tc.want {
				t.Errorf("error is %v\nwant %s", err, tc.want)
			}
			if _, err := m.Poll(t.Context()); err == nil {
				t.Error("who watches for maintenance sees no error")
			}
		})
	}
}

func TestTheEndpointIsChecked(t *testing.T) {
	t.Parallel()
	o := gcp.Options{Endpoint: "http://127.0.0.1:1338/computeMetadata"}
	_, first := gcp.NewPreempted(o)
	_, second := gcp.NewMaintenanceEvent(o)
	_, third := gcp.NewUpcomingMaintenance(o)
	if first == nil || second == nil || third == nil || gcp.CheckEndpoint(o.Endpoint) == nil {
		t.Errorf("with a path: %v, %v, %v", first, second, third)
	}
	if err := gcp.CheckEndpoint(gcp.DefaultEndpoint); err != nil {
		t.Error(err)
	}
}

func TestMaintenanceThatIsNotToldOfIsNoneWhereAPreemptionWouldBe(t *testing.T) {
	t.Parallel()
	server := startServer(t, gcptest.Options{Second: second})
	m, u := newMaintenanceEvent(t, server), newUpcoming(t, server)
	m.Hasten(second)
	if err := server.SetFault(gcptest.NoMaintenance); err != nil {
		t.Fatal(err)
	}
	none(t, m)
	none(t, u)
	if err := server.SetFault(gcptest.NothingReceived); err != nil {
		t.Fatal(err)
	}
	none(t, u)
	if err := server.ClearFault(); err != nil {
		t.Fatal(err)
	}
	server.Maintain(0, "MIGRATE")
	if s := one(t, m); s.Action != agent.Migrate || s.At.IsZero() {
		t.Errorf("sighting is %+v, want a migration that was seen to be announced", s)
	}
}
