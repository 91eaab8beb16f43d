package report

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

// tale is the story of a spot notice of two minutes for node-1.
var tale = story{
	node: nodeReference("node-1", "uid-node-1"),
	notice: agent.Notice{
		ID: "n-1", Source: "aws/spot", Kind: agent.SpotInterruption, Action: agent.Terminate,
		FirstSeen: noon, Deadline: noon.Add(2 * time.Minute), DeadlineKind: agent.Exact,
	},
}

// outcome returns what became of the pod web, told at once and gone in time.
func outcome(path drain.Path, wanted, given int64) drain.PodOutcome {
	return drain.PodOutcome{
		PodRef: drain.PodRef{Namespace: "shop", Name: "web", UID: "uid-web"}, Path: path,
		ToldAt: noon.Add(2 * time.Second), GoneAt: noon.Add(9 * time.Second), GraceWanted: wanted, GraceGiven: given,
	}
}

// telling is what an Event tells, without what all of them have in common.
type telling struct{ Type, Reason, Action, Note string }

func tellings(events []*eventsv1.Event) []telling {
	var told []telling
	for _, event := range events {
		told = append(told, telling{event.Type, event.Reason, event.Action, event.Note})
	}
	return told
}

func TestWhatIsToldOfAPod(t *testing.T) {
	t.Parallel()
	untold := outcome(drain.Lost, 30, 0)
	untold.ToldAt, untold.GoneAt = time.Time{}, time.Time{}
	gone := outcome(drain.AlreadyGone, 30, 0)
	gone.ToldAt = time.Time{}
	handed, refused := outcome(drain.HandedOver, 30, 30), outcome(drain.Forced, 30, 30)
	handed.HandOver, refused.HandOver = "Ready", "QuotaFull"
	shortened := func(given, wanted int) telling {
		return telling{
			"Warning", "GraceShortened", "ShortenGrace",
			fmt.Sprintf("Told to stop with %d s of the %d s of grace that it asks for: node node-1 has no more time (notice n-1)", given, wanted),
		}
	}
	evicted := func(given int) telling {
		return telling{
			"Normal", "EvictedForInterruption", "EvictPod",
			fmt.Sprintf("Evicted within its disruption budget, with %d s of grace: node node-1 is being interrupted (notice n-1)", given),
		}
	}
	forced := func(given int) telling {
		return telling{
			"Warning", "ForcedPastBudget", "DeletePod",
			fmt.Sprintf("Deleted at its latest moment, since no disruption budget let it go before, with %d s of grace: "+
				"node node-1 is being interrupted (notice n-1)", given),
		}
	}
	cases := map[string]struct {
		pod  drain.PodOutcome
		want []telling
	}{
		"a pod that was evicted": {outcome(drain.Evicted, 30, 30), []telling{evicted(30)}},
		"a pod that was evicted with less grace than its own, the warning first": {
			outcome(drain.Clamped, 300, 110), []telling{shortened(110, 300), evicted(110)},
		},
		"a pod that was deleted past its budget": {outcome(drain.Forced, 30, 30), []telling{forced(30)}},
		"a pod that was deleted past its budget with less grace than its own": {
			outcome(drain.Forced, 30, 2), []telling{forced(2), shortened(2, 30)},
		},
		"a pod that was handed over": {handed, []telling{{
			"Normal", "HandedOver", "HandOverPod",
			"Evicted after its replacement was Ready, with 30 s of grace: node node-1 is being interrupted (notice n-1)",
		}}},
		"a pod that was to be handed over, and was not": {refused, []telling{{
			"Warning", "ForcedPastBudget", "DeletePod",
			"Deleted at its latest moment, since no disruption budget let it go before, with 30 s of grace: " +
				"node node-1 is being interrupted; its hand-over ended with QuotaFull (notice n-1)",
		}}},
		"a pod that was told and did not end in time": {outcome(drain.Lost, 30, 30), nil},
		"a pod that was told with less grace than its own and did not end in time": {
			outcome(drain.Lost, 30, 10), []telling{shortened(10, 30)},
		},
		"a pod that nobody told":         {untold, nil},
		"a pod that was gone before":     {gone, nil},
		"a pod that finished by itself":  {drain.PodOutcome{Path: drain.Finished, GoneAt: noon, GraceWanted: 30}, nil},
		"a pod that was left by a lapse": {drain.PodOutcome{Path: drain.CalledOff, GraceWanted: 30}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tellings(tale.pods(drain.Report{Pods: []drain.PodOutcome{c.pod}}))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWarningsComeBeforeWhatWentWell(t *testing.T) {
	t.Parallel()
	report := drain.Report{Pods: []drain.PodOutcome{
		outcome(drain.Evicted, 30, 30), outcome(drain.Clamped, 60, 30), outcome(drain.Forced, 30, 30),
	}}
	var got []string
	for _, event := range tale.pods(report) {
		got = append(got, event.Reason)
	}
	want := []string{GraceShortened, ForcedPastBudget, EvictedForInterruption, EvictedForInterruption}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

func TestWhatIsToldOfTheNode(t *testing.T) {
	t.Parallel()
	lost := drained(drain.Evicted, drain.Lost, drain.CalledOff)
	lost.Pods[2].Name = "db"
	unread := drained()
	unread.Unread = "listing pods: connection refused"
	undated := tale
	undated.notice.Deadline, undated.notice.Action = time.Time{}, ""
	cases := map[string]struct {
		event *eventsv1.Event
		at    time.Time
		want  telling
	}{
		"a notice": {tale.noticed(), noon, telling{
			"Warning", "InterruptionNoticed", "DrainNode",
			"SpotInterruption noticed by aws/spot, action terminate, due 2026-03-01T12:02:00Z (exact), 120 s from first sight (notice n-1)",
		}},
		"a notice without a moment": {undated.noticed(), noon, telling{
			"Warning", "InterruptionNoticed", "DrainNode", "SpotInterruption noticed by aws/spot (notice n-1)",
		}},
		"a drain of all pods": {tale.ended(drained(drain.Evicted, drain.Forced, drain.Evicted)), noon.Add(30 * time.Second), telling{
			"Normal", "NodeDrained", "DrainNode", "Drained after 30 s, 90 s before the deadline; pods: 2 Evicted, 1 Forced (notice n-1)",
		}},
		"a drain of no pods": {tale.ended(drained()), noon.Add(30 * time.Second), telling{
			"Normal", "NodeDrained", "DrainNode", "Drained after 30 s, 90 s before the deadline; there were no pods to move (notice n-1)",
		}},
		"a drain that left pods behind": {tale.ended(lost), noon.Add(30 * time.Second), telling{
			"Warning", "DrainIncomplete", "DrainNode",
			"Gave up after 30 s, 90 s before the deadline; pods: 1 Evicted, 1 Lost, 1 CalledOff; left behind: default/web, default/db (notice n-1)",
		}},
		"a drain that never saw the pods": {tale.ended(unread), noon.Add(30 * time.Second), telling{
			"Warning", "DrainIncomplete", "DrainNode",
			"Gave up after 30 s, 90 s before the deadline; the pods were not read: listing pods: connection refused (notice n-1)",
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff([]telling{c.want}, tellings([]*eventsv1.Event{c.event})); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
			if !c.event.EventTime.Time.Equal(c.at) {
				t.Errorf("it happened at %v, want %v", c.event.EventTime, c.at)
			}
		})
	}
}

func TestAnEventSaysWhomItIsAboutAndWhoTellsIt(t *testing.T) {
	t.Parallel()
	pod := tale.pod(outcome(drain.Evicted, 30, 30))[0]
	node := tale.noticed()
	want := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: "shop", Name: pod.Name},
		EventTime:           metav1.NewMicroTime(noon.Add(2 * time.Second)),
		ReportingController: "ebbtide.dev/agent", ReportingInstance: "node-1",
		Action: pod.Action, Reason: pod.Reason, Type: pod.Type, Note: pod.Note,
		Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web", UID: "uid-web"},
		Related:   &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: "node-1", UID: "uid-node-1"},
	}
	if diff := cmp.Diff(want, pod); diff != "" {
		t.Errorf("event of a pod (-want +got):\n%s", diff)
	}
	if node.Namespace != "default" || node.Related != nil || node.Regarding != tale.node {
		t.Errorf("the node's Event is %+v, want one in default about the node alone", node)
	}
}

func TestAnEventHasANameOfItsOwnForEachThingThatItTells(t *testing.T) {
	t.Parallel()
	// The second pod and the second notice are namesakes in all but their ids.
	other := outcome(drain.Clamped, 30, 10)
	other.UID = "uid-other"
	second := tale
	second.notice.ID = "n-2"
	names := map[string]bool{}
	for _, s := range []story{tale, second, tale} {
		events := []*eventsv1.Event{s.noticed(), s.ended(drained()), s.ended(drained(drain.Lost))}
		events = append(events, s.pods(drain.Report{Pods: []drain.PodOutcome{outcome(drain.Clamped, 30, 10), other}})...)
		for _, event := range events {
			names[event.Namespace+"/"+event.Name] = true
		}
	}
	if len(names) != 14 {
		t.Errorf("two drains of two pods have %d names, want 14; the third is the first again: %v", len(names), names)
	}
}

func TestTheAPIServersLimitsAreKept(t *testing.T) {
	t.Parallel()
	long := drained()
	for i := range 200 {
		long.Pods = append(long.Pods, drain.PodOutcome{
			PodRef: drain.PodRef{Namespace: "naïve-ns", Name: fmt.Sprintf("web-%d", i), UID: types.UID(fmt.Sprint(i))}, Path: drain.Lost,
		})
	}
	for shift := range 5 {
		// 253 bytes, of which a cut leaves another end each time: a letter, a dot
		// or a dash.
		name := (strings.Repeat("x", shift+1) + strings.Repeat("a.b-c", 50) + "xx")[:253]
		s := tale
		s.node.Name = name
		s.notice.ID = strings.Repeat("ü", 400*shift)
		pod := outcome(drain.Clamped, 30, 10)
		pod.Name = name
		events := append(s.pod(pod), s.noticed(), s.ended(long))
		for _, event := range events {
			for _, problem := range validation.IsDNS1123Subdomain(event.Name) {
				t.Errorf("the name %q: %s", event.Name, problem)
			}
			if n := len(event.Note); n > 1024 || !utf8.ValidString(event.Note) {
				t.Errorf("a note has %d bytes, at most 1024: %q", n, event.Note)
			}
			if n := len(event.ReportingInstance); n > 128 || n == 0 {
				t.Errorf("the reporting instance has %d bytes, at most 128", n)
			}
			if !strings.HasSuffix(event.Note, ")") {
				t.Errorf("a note lost the notice's id: %q", event.Note)
			}
		}
	}
	if note := tale.ended(long).Note; !strings.Contains(note, "…") || len(note) < 1000 {
		t.Errorf("a long note is not cut where it must be: %q", note)
	}
}

func TestWhatIsToldOfADrillIsToldUnderReasonsOfItsOwn(t *testing.T) {
	t.Parallel()
	drill := tale
	drill.notice.Kind, drill.notice.Source, drill.notice.Action = agent.Drill, "ebbtide/drill", ""
	spared := drained(drain.Spared)
	events := []*eventsv1.Event{drill.noticed(), drill.ended(drained(drain.Evicted)), drill.ended(spared)}
	for _, pod := range []drain.PodOutcome{outcome(drain.Evicted, 30, 30), outcome(drain.HandedOver, 30, 30), outcome(drain.Forced, 30, 10)} {
		events = append(events, drill.pod(pod)...)
	}
	want := []telling{
		{"Warning", "DrillBegan", "DrainNode", "Drill noticed by ebbtide/drill, due 2026-03-01T12:02:00Z (exact), 120 s from first sight (notice n-1)"},
		{"Normal", "DrillCompleted", "DrainNode", "Drained after 30 s, 90 s before the deadline; pods: 1 Evicted (notice n-1)"},
		{"Warning", "DrillIncomplete", "DrainNode", "Gave up after 30 s, 90 s before the deadline; pods: 1 Spared; left behind: default/web (notice n-1)"},
		{"Normal", "EvictedInDrill", "EvictPod", "Evicted within its disruption budget, with 30 s of grace: node node-1 is under a drill (notice n-1)"},
		{"Normal", "HandedOverInDrill", "HandOverPod", "Evicted after its replacement was Ready, with 30 s of grace: node node-1 is under a drill (notice n-1)"},
		{
			"Warning", "ForcedInDrill", "DeletePod",
			"Deleted at its latest moment, since no disruption budget let it go before, with 10 s of grace: node node-1 is under a drill (notice n-1)",
		},
		{"Warning", "GraceShortenedInDrill", "ShortenGrace", "Told to stop with 10 s of the 30 s of grace that it asks for: node node-1 has no more time (notice n-1)"},
	}
	if diff := cmp.Diff(want, tellings(events)); diff != "" {
		t.Errorf("Events (-want +got):\n%s", diff)
	}
}

func TestWhatIsToldOfAnAdviceIsToldUnderReasonsOfItsOwn(t *testing.T) {
	t.Parallel()
	advice := tale
	advice.notice.Kind, advice.notice.Source, advice.notice.Action = agent.RebalanceAdvice, "aws/rebalance", ""
	advice.notice.Advice, advice.notice.DeadlineKind, advice.notice.Deadline = agent.HandOver, agent.Estimated, noon.Add(time.Hour)
	softly := advice
	softly.notice.Advice = agent.CordonSoftly
	unread := drained()
	unread.Unread = "listing pods: connection refused"
	events := []*eventsv1.Event{
		advice.noticed(), softly.noticed(), advice.ended(drained(drain.HandedOver, drain.Evicted)), advice.ended(drained()),
		advice.ended(drained(drain.HandedOver, drain.Spared)), advice.ended(unread),
	}
	for _, pod := range []drain.PodOutcome{outcome(drain.HandedOver, 30, 30), outcome(drain.Evicted, 30, 30)} {
		events = append(events, advice.pod(pod)...)
	}
	want := []telling{
		{
			"Normal", "AdviceNoticed", "FollowAdvice", "RebalanceAdvice noticed by aws/rebalance; critical pods are moved within their " +
				"disruption budgets, and the scheduler prefers other nodes, until 2026-03-01T13:00:00Z at the latest (notice n-1)",
		},
		{
			"Normal", "AdviceNoticed", "FollowAdvice",
			"RebalanceAdvice noticed by aws/rebalance; the scheduler prefers other nodes, until 2026-03-01T13:00:00Z at the latest (notice n-1)",
		},
		{"Normal", "AdviceFollowed", "FollowAdvice", "Moved every critical pod after 30 s; pods: 1 Evicted, 1 HandedOver (notice n-1)"},
		{"Normal", "AdviceFollowed", "FollowAdvice", "Moved every critical pod after 30 s; there were no pods to move (notice n-1)"},
		{
			"Normal", "AdviceIncomplete", "FollowAdvice",
			"Left critical pods where they are after 30 s; pods: 1 HandedOver, 1 Spared; still here: default/web (notice n-1)",
		},
		{
			"Normal", "AdviceIncomplete", "FollowAdvice",
			"Moved nothing after 30 s; the pods were not read: listing pods: connection refused (notice n-1)",
		},
		{"Normal", "HandedOverOnAdvice", "HandOverPod", "Evicted after its replacement was Ready, with 30 s of grace: node node-1 may be taken away (notice n-1)"},
		{"Normal", "EvictedOnAdvice", "EvictPod", "Evicted within its disruption budget, with 30 s of grace: node node-1 may be taken away (notice n-1)"},
	}
	if diff := cmp.Diff(want, tellings(events)); diff != "" {
		t.Errorf("Events (-want +got):\n%s", diff)
	}
}

func TestANoticeThatIsNotActedOnYetIsNoted(t *testing.T) {
	t.Parallel()
	planned := tale
	planned.notice.Kind, planned.notice.Source, planned.notice.Action = agent.Maintenance, "azure/scheduled-events", agent.Reboot
	planned.notice.Advice, planned.notice.DeadlineKind = agent.DrainBefore, agent.Earliest
	ignored := planned
	ignored.notice.Advice, ignored.notice.Action, ignored.notice.Deadline = agent.ReportOnly, agent.Migrate, time.Time{}
	want := []telling{
		{
			"Normal", "NoticeNoted", "NoteNotice", "Maintenance noticed by azure/scheduled-events, action reboot, " +
				"due 2026-03-01T12:02:00Z (earliest), 120 s from first sight; the node is drained shortly before (notice n-1)",
		},
		{"Normal", "NoticeNoted", "NoteNotice", "Maintenance noticed by azure/scheduled-events, action migrate; nothing is done about it (notice n-1)"},
	}
	if diff := cmp.Diff(want, tellings([]*eventsv1.Event{planned.noticed(), ignored.noticed()})); diff != "" {
		t.Errorf("Events (-want +got):\n%s", diff)
	}
}

func TestEveryResponseThatIsNoDrainHasWords(t *testing.T) {
	t.Parallel()
	for _, response := range agent.Responses {
		if words := responses[response]; (words == "") != (response == agent.DrainNow) {
			t.Errorf("the response %s is told as %q", response, words)
		}
	}
}
