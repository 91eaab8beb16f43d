package report

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

// drainedOf returns the report of a drain of n pods that were evicted.
func drainedOf(n int) drain.Report {
	report := drained()
	for i := range n {
		name := fmt.Sprintf("web-%d", i)
		report.Pods = append(report.Pods, drain.PodOutcome{
			PodRef: drain.PodRef{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
			Path:   drain.Evicted, ToldAt: noon.Add(2 * time.Second), GraceWanted: 30, GraceGiven: 30,
		})
	}
	return report
}

func TestTheNoticeIsToldWhenItIsSeenAndNotAgainWithTheReport(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t)
	events, registry := server.sink(t, doomed{})
	if err := events.Noticed(t.Context(), notice); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{InterruptionNoticed}, server.has()); diff != "" {
		t.Errorf("after the notice (-want +got):\n%s", diff)
	}
	if err := events.Report(t.Context(), notice, drainedOf(1)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{EvictedForInterruption, InterruptionNoticed, NodeDrained}, server.has()); diff != "" {
		t.Errorf("after the report (-want +got):\n%s", diff)
	}
	if server.asked != 3 {
		t.Errorf("%d requests were sent, want one for each Event", server.asked)
	}
	counted(t, registry, map[string]float64{written: 3})
}

func TestAnAdviceIsToldWhenItIsSeenAndNotAgainWithTheReport(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t)
	events, _ := server.sink(t, doomed{})
	advice := notice
	advice.Advice = agent.HandOver
	if err := errors.Join(events.Noticed(t.Context(), advice), events.Report(t.Context(), advice, drainedOf(1))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{AdviceFollowed, AdviceNoticed, EvictedOnAdvice}, server.has()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if server.asked != 3 {
		t.Errorf("%d requests were sent, want one for each Event", server.asked)
	}
}

func TestANoticeThatCouldNotBeToldIsToldWithTheReport(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t)
	events, registry := server.sink(t, doomed{})
	server.answer = forbidden
	if err := events.Noticed(t.Context(), notice); !apierrors.IsForbidden(err) {
		t.Errorf("the error is %v, want the API server's refusal", err)
	}
	server.answer = nil
	if err := events.Report(t.Context(), notice, drained()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{InterruptionNoticed, NodeDrained}, server.has()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	counted(t, registry, map[string]float64{written: 2, failed: 1})
}

func TestEveryNoticeIsToldOnItsOwn(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t)
	events, _ := server.sink(t, doomed{})
	second := notice
	second.ID = "notice-2"
	if err := errors.Join(events.Noticed(t.Context(), notice), events.Report(t.Context(), second, drained())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{InterruptionNoticed, InterruptionNoticed, NodeDrained}, server.has()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestAnAgentThatResumesADrainTellsNothingTwice(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t)
	report := drainedOf(2)
	for range 2 {
		events, registry := server.sink(t, doomed{})
		if err := events.Report(t.Context(), notice, report); err != nil {
			t.Errorf("an Event that is there already counts as %v", err)
		}
		counted(t, registry, map[string]float64{written: 4})
	}
	want := []string{EvictedForInterruption, EvictedForInterruption, InterruptionNoticed, NodeDrained}
	if diff := cmp.Diff(want, server.has()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestWhenTheFirstEventIsRefusedTheOthersAreNotTried(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t)
	server.answer = forbidden
	events, registry := server.sink(t, doomed{})
	err := events.Report(t.Context(), notice, drainedOf(20))
	if !apierrors.IsForbidden(err) {
		t.Fatalf("the error is %v, want the API server's refusal", err)
	}
	want := `leaving 22 of 22 Events unwritten: writing Event "NodeDrained": events.events.k8s.io is forbidden: no rule allows it`
	if err.Error() != want {
		t.Errorf("the error is\n%s, want\n%s", err, want)
	}
	if server.asked != 1 {
		t.Errorf("%d requests were sent, want one", server.asked)
	}
	counted(t, registry, map[string]float64{failed: 1, dropped: 21})
}

func TestAnEventThatIsRefusedLaterKeepsNoOtherBack(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t)
	server.answer = func(ctx context.Context, event *eventsv1.Event) error {
		if event.Regarding.Name == "web-1" {
			return forbidden(ctx, event)
		}
		return nil
	}
	events, registry := server.sink(t, doomed{})
	if err := events.Report(t.Context(), notice, drainedOf(3)); !apierrors.IsForbidden(err) {
		t.Errorf("the error is %v, want the API server's refusal", err)
	}
	counted(t, registry, map[string]float64{written: 4, failed: 1})
}

func TestAnAPIServerThatHangsCostsTheReportsOwnTimeAndNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer(t)
		server.answer = func(ctx context.Context, event *eventsv1.Event) error {
			if event.Reason == NodeDrained {
				return nil
			}
			return hangs(ctx, event)
		}
		events, registry := server.sink(t, doomed{})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := events.Report(ctx, notice, drainedOf(20)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v, want that of the context", err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the report took %v, want 2s", took)
		}
		counted(t, registry, map[string]float64{written: 1, failed: writers, dropped: 21 - writers})
	})
}

func TestAFewEventsAreWrittenAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newAPIServer(t)
		server.answer = func(context.Context, *eventsv1.Event) error {
			<-time.After(10 * time.Millisecond)
			return nil
		}
		events, _ := server.sink(t, doomed{})
		began := time.Now()
		if err := events.Report(t.Context(), notice, drainedOf(110)); err != nil {
			t.Fatal(err)
		}
		if server.most != writers {
			t.Errorf("%d requests were under way at a time, want %d", server.most, writers)
		}
		// The first, and then 111 by four.
		if took, want := time.Since(began), 290*time.Millisecond; took != want {
			t.Errorf("the report took %v, want %v", took, want)
		}
	})
}

func TestAReportOfVeryManyPodsIsCut(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t)
	events, registry := server.sink(t, doomed{})
	if err := events.Report(t.Context(), notice, drainedOf(300)); !errors.Is(err, errTooMany) {
		t.Errorf("the error is %v, want %v", err, errTooMany)
	}
	counted(t, registry, map[string]float64{written: maxEvents, dropped: 302 - maxEvents})
}

func TestANodeThatCannotBeReadIsToldByItsName(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t)
	events, _ := server.sink(t, doomed{err: errors.New("connection refused")})
	if err := events.Report(t.Context(), notice, drained()); err != nil {
		t.Fatal(err)
	}
	for _, event := range server.events {
		if event.Regarding.Name != "node-1" || event.Regarding.UID != "" {
			t.Errorf("the Event %s is about %+v, want node-1 without a UID", event.Reason, event.Regarding)
		}
	}
	if len(server.events) != 2 {
		t.Errorf("%d Events were written, want 2", len(server.events))
	}
}
