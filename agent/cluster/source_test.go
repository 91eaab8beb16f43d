package cluster

import (
	"context"
	"errors"
	"regexp"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/agent"
)

// poll asks as the agent does, within the Source's own bound.
func poll(ctx context.Context, s *Source) ([]agent.Sighting, error) {
	ctx, stop := context.WithTimeout(ctx, pace.Timeout)
	defer stop()
	return s.Poll(ctx)
}

// says polls and wants these sightings.
func says(t *testing.T, s *Source, want ...agent.Sighting) {
	t.Helper()
	got, err := poll(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, byCloud, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

// off is a sighting of what is called off.
func off(s agent.Sighting) agent.Sighting {
	s.State = agent.Cancelled
	return s
}

// after lets the server change after d.
func after(d time.Duration, do func()) { time.AfterFunc(d, do) }

func TestTheNamesAndThePaceCanBeUsed(t *testing.T) {
	t.Parallel()
	s := newAPIServer().source(t)
	label := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	if !label.MatchString(s.Provider()) || !label.MatchString(s.Name()) {
		t.Errorf("%q and %q are no labels", s.Provider(), s.Name())
	}
	p := s.Pace()
	if p.Every <= 0 || p.Timeout <= p.Every || p.BlindAfter <= p.Timeout {
		t.Errorf("the pace is %+v", p)
	}
}

func TestASourceNeedsANodeAndAnAPIServer(t *testing.T) {
	t.Parallel()
	if _, err := New(&rest.Config{Host: "http://nowhere.invalid"}, ""); err == nil {
		t.Error("a Source watches a Node without a name")
	}
	if _, err := New(&rest.Config{Host: "http://no where"}, own); err == nil {
		t.Error("a Source has an API server whose address is none")
	}
}

func TestAChangeIsToldAtOnce(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		before, change func(*corev1.Node)
		want           []agent.Sighting
	}{
		"a taint appears":             {func(*corev1.Node) {}, byKarpenter, []agent.Sighting{taken()}},
		"a taint is taken back":       {byKarpenter, untainted, []agent.Sighting{off(taken())}},
		"the taint becomes a death":   {byKarpenter, deleted, []agent.Sighting{taken(started)}},
		"the kubelet shuts down":      {func(*corev1.Node) {}, shuttingDown, []agent.Sighting{down}},
		"a shutdown is called off":    {shuttingDown, ready(corev1.ConditionTrue, "KubeletReady", ""), []agent.Sighting{off(down)}},
		"Karpenter names the end":     {deleted, ends("2026-11-25T12:00:00Z"), []agent.Sighting{taken(started, endsAt(noon.Add(48*time.Hour)))}},
		"a second one takes the Node": {byKarpenter, byAutoscaler, []agent.Sighting{taken(scaledIn)}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newAPIServer()
				server.change(c.before)
				s := server.source(t)
				for range 2 { // until it waits for a change
					if _, err := poll(t.Context(), s); err != nil {
						t.Fatal(err)
					}
				}
				after(time.Second, func() { server.change(c.change) })
				began := time.Now()
				says(t, s, c.want...)
				if took := time.Since(began); took != time.Second {
					t.Errorf("it takes %v, want no longer than the change", took)
				}
			})
		})
	}
}

func TestTheFirstPollTellsAtOnceWhatIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		server.change(byKarpenter)
		began := time.Now()
		says(t, server.source(t), taken())
		if took := time.Since(began); took > 0 {
			t.Errorf("it takes %v", took)
		}
	})
}

func TestAnIdlePollHoldsAndSaysNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		s := server.source(t)
		began := time.Now()
		says(t, s)
		if took := time.Since(began); took != brief {
			t.Errorf("the first poll takes %v, want %v: the watch has to stand that long", took, brief)
		}
		began = time.Now()
		says(t, s)
		if took := time.Since(began); took != holdFor {
			t.Errorf("the second poll takes %v, want %v", took, holdFor)
		}
	})
}

func TestWhatChangesNothingIsNotTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		server.change(byKarpenter)
		s := server.source(t)
		says(t, s, taken())
		for i := range 5 {
			after(time.Duration(i)*time.Second+time.Millisecond, func() {
				server.change(func(n *corev1.Node) {
					n.Status.Conditions[0].LastHeartbeatTime = metav1.Now()
					n.Spec.Unschedulable = true
				})
				server.bookmark()
			})
		}
		began := time.Now()
		says(t, s, taken())
		if took := time.Since(began); took != holdFor {
			t.Errorf("a poll takes %v, want %v", took, holdFor)
		}
	})
}

func TestAnIdleSourceSendsTwoRequestsInFiveMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		s := server.source(t)
		began := time.Now()
		for time.Since(began) < 2*time.Hour {
			says(t, s)
			if open := server.watched(); open != 1 {
				t.Fatalf("%d watches are open, want one", open)
			}
			<-time.After(pace.Every)
		}
		asked := server.asked()
		if rounds := int(2 * time.Hour / provenFor); len(asked) > 2*rounds || len(asked) < rounds {
			t.Errorf("%d requests in two hours, want about two in %v", len(asked), provenFor)
		}
		for i, r := range asked {
			if r.watch != (i%2 == 1) {
				t.Fatalf("request %d: %+v, want lists and watches in turn", i, r)
			}
		}
	})
}

func TestAWatchGoesOnWhereTheLastOneEnded(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		end  func(*apiServer)
		want []bool // is a watch
	}{
		"the server ends it":        {func(s *apiServer) { s.cut(nil) }, []bool{true}},
		"the connection breaks":     {func(s *apiServer) { s.cut(errors.New("read: connection reset by peer")) }, []bool{true}},
		"the past is forgotten":     {func(s *apiServer) { s.forget(); s.cut(nil) }, []bool{true, false, true}},
		"the server says it is old": {func(s *apiServer) { s.say(event("ERROR", refusal(410, metav1.StatusReasonExpired, "too old"))) }, []bool{false, true}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newAPIServer()
				s := server.source(t)
				says(t, s)
				server.bookmark()
				says(t, s)
				server.asked()
				c.end(server)
				says(t, s) // what was so until the end
				server.change(byKarpenter)
				says(t, s, taken())
				var got []bool
				for _, r := range server.asked() {
					got = append(got, r.watch)
					if r.watch && r.version == "100" {
						t.Error("it goes on before the bookmark")
					}
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("watches among the requests (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestANodeThatIsGoneIsNotCalm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		s := server.source(t)
		says(t, s)
		server.change(deleted)
		says(t, s, taken(started))
		server.remove()
		for range 3 {
			if got, err := poll(t.Context(), s); !errors.Is(err, errNoNode) {
				t.Fatalf("it says %+v and %v, want %v", got, err, errNoNode)
			}
		}
		server.create("uid-2")
		says(t, s, off(taken(started)))
		says(t, s)
		server.change(byKarpenter)
		want := taken(func(s *agent.Sighting) { s.ID = "kubernetes-disruption-uid-2" })
		says(t, s, want)
	})
}

func TestWhatIsCalledOffIsSaidOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		server.change(byKarpenter)
		server.change(shuttingDown)
		s := server.source(t)
		says(t, s, taken(), down)
		server.change(untainted)
		says(t, s, down, off(taken()))
		says(t, s, down)

		// Also if nobody saw it: an outage is not the end of a notice, and may hide it.
		server.have(breaks(syscall.ECONNREFUSED))
		server.cut(nil)
		if got, err := poll(t.Context(), s); err == nil {
			t.Fatalf("without an API server it says %+v", got)
		}
		server.change(ready(corev1.ConditionTrue, "KubeletReady", ""))
		server.have(nil)
		says(t, s, off(down))
		says(t, s)
	})
}

func TestTheServersClockIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		server.skew = -3 * time.Hour
		s := server.source(t)
		says(t, s)
		<-time.After(2 * time.Minute)
		server.change(byKarpenter)
		got, err := poll(t.Context(), s)
		if err != nil || len(got) != 1 {
			t.Fatalf("it says %+v and %v", got, err)
		}
		if off := got[0].ServerTime.Sub(time.Now().Add(server.skew)); off > 0 || off < -time.Second {
			t.Errorf("the server's clock is told as %v, which is off by %v", got[0].ServerTime, off)
		}
	})
}

func TestAPollThatIsCancelledLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		s := server.source(t)
		says(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		after(3*time.Second, cancel)
		began := time.Now()
		if got, err := poll(ctx, s); !errors.Is(err, context.Canceled) || time.Since(began) != 3*time.Second {
			t.Errorf("after %v it says %+v and %v", time.Since(began), got, err)
		}
		synctest.Wait()
		if open := server.watched(); open > 0 {
			t.Errorf("%d watches are left", open)
		}
		says(t, s) // and it can be used again
	})
}

func TestAClosedSourceLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer()
		s := server.source(t)
		s.Close()
		says(t, s)
		server.change(func(n *corev1.Node) { n.Spec.Unschedulable = true }) // what nobody reads
		s.Close()
		s.Close()
		if open := server.watched(); open > 0 {
			t.Errorf("%d watches are left", open)
		}
		server.change(byKarpenter)
		says(t, s, taken())
	})
}
