package interruptions

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/drain"
)

// noon is when the tests begin.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// spot is an interruption of two minutes that is noticed at noon.
func spot(notice string) *drain.State {
	return &drain.State{Notice: notice, Source: "aws/spot", Kind: "SpotInterruption", BootID: "boot-1", Deadline: noon.Add(2 * time.Minute)}
}

func otherKind(state *drain.State, kind string) *drain.State { state.Kind = kind; return state }
func putBack(state *drain.State) *drain.State                { state.PutBack = true; return state }
func otherBoot(state *drain.State, boot string) *drain.State { state.BootID = boot; return state }
func due(state *drain.State, at time.Duration) *drain.State {
	state.Deadline = noon.Add(at)
	return state
}

// node makes a node that carries state; nil for nothing.
func node(name string, state *drain.State) *corev1.Node {
	made := &corev1.Node{}
	made.Name = name
	if state != nil {
		text, err := json.Marshal(state)
		if err != nil {
			panic(err) // unreachable: strings, numbers and times always marshal
		}
		made.Annotations = map[string]string{drain.StateAnnotation: string(text)}
	}
	return made
}

func nodes(all ...*corev1.Node) []*corev1.Node { return all }

// ofNode makes an Event as an agent writes it about its node.
func ofNode(reason, node, notice string) *eventsv1.Event {
	event := &eventsv1.Event{
		ReportingController: "ebbtide.dev/agent", ReportingInstance: node, Reason: reason,
		Regarding: corev1.ObjectReference{Kind: "Node", Name: node},
		Note:      "Told after 3 s (of 120 s) (notice " + notice + ")",
	}
	event.UID = types.UID(reason + node + notice)
	return event
}

// ofPod makes an Event as an agent writes it about a pod of node a.
func ofPod(reason, pod string) *eventsv1.Event {
	event := ofNode(reason, "a", "n")
	event.Regarding = corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: pod}
	event.UID = types.UID(reason + pod)
	return event
}

func times(event *eventsv1.Event, count int32) *eventsv1.Event {
	event.Series = &eventsv1.EventSeries{Count: count}
	return event
}

// step is a look at the nodes, or an Event, and what is certain by it.
type step struct {
	at    time.Duration // since noon; looks only
	look  []*corev1.Node
	event *eventsv1.Event
	past  bool // the event is from before the term
	want  []string
}

// says tells facts in short.
func says(facts []Fact) []string {
	var all []string
	for _, fact := range facts {
		all = append(all, fmt.Sprintf("%d %s %s of %s", fact.Count, fact.Subject, fact.Value, fact.Node))
	}
	return all
}

func (s step) take(m *Memory) []Fact {
	switch {
	case s.event == nil:
		return m.Nodes(noon.Add(s.at), s.look)
	case s.past:
		m.Recall(s.event)
		return nil
	default:
		return m.Event(s.event)
	}
}

const (
	comesUnder = "1 Interruption SpotInterruption of a"
	isDrained  = "1 Drain Drained of a"
	isPartly   = "1 Drain Incomplete of a"
	isUntold   = "1 Drain Unreported of a"
)

func TestEachInterruptionAndEachDrainIsCountedOnce(t *testing.T) {
	t.Parallel()
	const s = time.Second
	clean := nodes(node("a", nil))
	doomed := nodes(node("a", spot("n")))
	cases := map[string][]step{
		"a node that is drained": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{event: ofNode(interruptionNoticed, "a", "n")},
			{at: 3 * s, look: doomed},
			{event: ofNode(nodeDrained, "a", "n"), want: []string{isDrained}},
			{event: ofNode(nodeDrained, "a", "n")},
			{at: 120 * s, look: nodes()},
			{at: 600 * s, look: nodes()},
		},
		"a node whose Event is faster than its annotation": {
			{look: clean},
			{event: ofNode(interruptionNoticed, "a", "n")},
			{at: 1 * s, look: clean},
			{event: ofNode(drainIncomplete, "a", "n"), want: []string{isPartly}},
			{at: 3 * s, look: doomed, want: []string{comesUnder}},
			{at: 600 * s, look: doomed},
		},
		"two nodes that share a notice": {
			{look: nodes()},
			{at: 1 * s, look: nodes(node("a", spot("n")), node("b", spot("n"))), want: []string{comesUnder, "1 Interruption SpotInterruption of b"}},
			{event: ofNode(nodeDrained, "b", "n"), want: []string{"1 Drain Drained of b"}},
			{event: ofNode(nodeDrained, "a", "n"), want: []string{isDrained}},
		},
		"a node of a kind that a later version has": {
			{look: clean},
			{look: nodes(node("a", otherKind(spot("n"), "Flood"))), want: []string{"1 Interruption Unknown of a"}},
		},
		"a node that goes without a word": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{at: 100 * s, look: nodes()},
			{at: 129 * s, look: nodes()},
			{at: 130 * s, look: nodes(), want: []string{isUntold}},
			{at: 900 * s, look: nodes()},
			{at: 2000 * s, look: nodes()},
		},
		"a node whose word comes after it has gone": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{at: 100 * s, look: nodes()},
			{event: ofNode(drainIncomplete, "a", "n"), want: []string{isPartly}},
			{at: 140 * s, look: nodes()},
		},
		"a word that comes too late": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{at: 100 * s, look: nodes()},
			{at: 140 * s, look: nodes(), want: []string{isUntold}},
			{event: ofNode(nodeDrained, "a", "n")},
			{event: ofNode(interruptionNoticed, "a", "n")},
			{at: 1000 * s, look: nodes()},
		},
		"a node that stays, and of which nobody says how its drain ended": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{at: 180 * s, look: doomed},
			{at: 181 * s, look: doomed, want: []string{isUntold}},
			{at: 600 * s, look: doomed},
			{at: 700 * s, look: nodes()},
			{at: 800 * s, look: nodes()},
		},
		"a node that is put back without a word": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{at: 100 * s, look: clean},
			{at: 130 * s, look: clean, want: []string{isUntold}},
		},
		"a node that is put back, and carries what is left to do about its pods": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{event: ofNode(nodeDrained, "a", "n"), want: []string{isDrained}},
			{at: 190 * s, look: nodes(node("a", putBack(spot("n"))))},
			{at: 4000 * s, look: nodes(node("a", putBack(spot("n"))))},
			{at: 4002 * s, look: clean},
			{at: 8000 * s, look: clean},
		},
		"a node that is put back, and was never seen under a notice": {
			{look: clean},
			{at: 1 * s, look: nodes(node("a", putBack(&drain.State{})))},
			{at: 3 * s, look: clean},
			{at: 60 * s, look: clean},
		},
		"a node that is put back and interrupted again by the same notice": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{event: ofNode(nodeDrained, "a", "n"), want: []string{isDrained}},
			{at: 190 * s, look: clean},
			{at: 230 * s, look: clean},
			{at: 300 * s, look: nodes(node("a", due(spot("n"), 420*s))), want: []string{comesUnder}},
			{at: 500 * s, look: nodes(), want: nil},
			{at: 540 * s, look: nodes(), want: []string{isUntold}},
		},
		"a node that is missing from one look": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{at: 3 * s, look: nodes()},
			{at: 5 * s, look: doomed},
			{at: 40 * s, look: nodes()},
			{at: 60 * s, look: nodes()},
			{at: 70 * s, look: nodes(), want: []string{isUntold}},
		},
		"a drain that goes on under another notice": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{at: 9 * s, look: nodes(node("a", spot("sooner"))), want: []string{comesUnder}},
			{event: ofNode(nodeDrained, "a", "sooner"), want: []string{isDrained}},
			{at: 200 * s, look: nodes()},
			{at: 300 * s, look: nodes()},
		},
		"a drain that another boot has cut short": {
			{look: clean},
			{at: 1 * s, look: doomed, want: []string{comesUnder}},
			{at: 90 * s, look: nodes(node("a", otherBoot(due(spot("next"), 210*s), "boot-2"))), want: []string{comesUnder}},
			{at: 121 * s, look: nodes(node("a", otherBoot(due(spot("next"), 210*s), "boot-2"))), want: []string{isUntold}},
			{event: ofNode(nodeDrained, "a", "next"), want: []string{isDrained}},
		},
		"an interruption that only an Event tells of, of a node that goes": {
			{look: clean},
			{event: ofNode(interruptionNoticed, "a", "n")},
			{at: 1 * s, look: clean},
			{at: 90 * s, look: nodes(), want: []string{"1 Interruption Unknown of a", isUntold}},
		},
		"an interruption that only Events tell of, of a node that stays": {
			{look: clean},
			{event: ofNode(interruptionNoticed, "a", "n")},
			{at: 1 * s, look: clean},
			{at: 110 * s, look: clean},
			{event: ofNode(drainIncomplete, "a", "n"), want: []string{isPartly}},
			{at: 112 * s, look: clean, want: []string{"1 Interruption Unknown of a"}},
			{at: 1200 * s, look: clean},
		},
		"an interruption of which only the notice was told, of a node that stays": {
			{look: clean},
			{event: ofNode(interruptionNoticed, "a", "n")},
			{at: 1 * s, look: clean},
			{at: 800 * s, look: clean},
			{at: 901 * s, look: clean, want: []string{"1 Interruption Unknown of a", isUntold}},
		},
		"a drain whose beginning nobody told of": {
			{look: clean},
			{event: ofNode(nodeDrained, "a", "n"), want: []string{isDrained}},
			{at: 1 * s, look: nodes()},
			{at: 60 * s, look: nodes()},
		},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, steps)
		})
	}
}

func play(t *testing.T, steps []step) {
	t.Helper()
	m := &Memory{}
	for i, step := range steps {
		if diff := cmp.Diff(step.want, says(step.take(m))); diff != "" {
			t.Errorf("after step %d of %d (-want +got):\n%s", i+1, len(steps), diff)
		}
	}
}

func TestATermBeginsWithNothingCounted(t *testing.T) {
	t.Parallel()
	const s = time.Second
	doomed := nodes(node("a", spot("n")))
	cases := map[string][]step{
		"a drain under way counts when it ends": {
			{at: 20 * s, look: doomed},
			{past: true, event: ofNode(interruptionNoticed, "a", "n")},
			{at: 22 * s, look: doomed},
			{event: ofNode(nodeDrained, "a", "n"), want: []string{isDrained}},
		},
		"a drain under way counts when no word of its end comes": {
			{at: 20 * s, look: doomed},
			{at: 100 * s, look: nodes()},
			{at: 130 * s, look: nodes(), want: []string{isUntold}},
		},
		"a drain that had ended does not count": {
			{at: 20 * s, look: doomed},
			{past: true, event: ofNode(nodeDrained, "a", "n")},
			{at: 100 * s, look: nodes()},
			{at: 130 * s, look: nodes()},
		},
		"a drain of an earlier interruption says nothing of this one": {
			{at: 20 * s, look: doomed},
			{past: true, event: ofNode(nodeDrained, "a", "earlier")},
			{at: 181 * s, look: doomed, want: []string{isUntold}},
		},
		"a node that has been dead for long does not count": {
			{at: 4000 * s, look: doomed},
			{at: 4002 * s, look: doomed},
			{at: 5000 * s, look: nodes()},
			{at: 6000 * s, look: nodes()},
		},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, steps)
		})
	}
}

func TestTheNodesWhosePastMattersAreKnown(t *testing.T) {
	t.Parallel()
	m := &Memory{}
	m.Nodes(noon, nodes(node("c", spot("n")), node("a", spot("n")), node("calm", nil),
		node("dead", due(spot("n"), -time.Hour)), node("drilled", otherKind(spot("n"), "Drill"))))
	if diff := cmp.Diff([]string{"a", "c"}, m.Unsettled()); diff != "" {
		t.Errorf("unsettled (-want +got):\n%s", diff)
	}
}

func TestDrillsNeverCount(t *testing.T) {
	t.Parallel()
	drilled := nodes(node("a", otherKind(spot("drill-1"), "Drill")))
	play(t, []step{
		{look: nodes(node("a", nil))},
		{event: ofNode("DrillBegan", "a", "drill-1")},
		{look: drilled},
		{event: ofPod("EvictedInDrill", "p")},
		{event: ofPod("HandedOverInDrill", "q")},
		{event: ofPod("ForcedInDrill", "r")},
		{event: ofPod("GraceShortenedInDrill", "r")},
		{event: ofNode("DrillIncomplete", "a", "drill-1")},
		{event: ofNode("DrillCompleted", "a", "drill-1")},
		{at: time.Hour, look: drilled},
		{at: time.Hour, look: nodes(node("a", nil))},
		{at: 2 * time.Hour, look: nodes(node("a", due(spot("real"), 3*time.Hour))), want: []string{comesUnder}},
	})
}

func TestPodsCountByTheirEvents(t *testing.T) {
	t.Parallel()
	others := ofPod("ForcedPastBudget", "p")
	others.ReportingController = "example.com/evictor"
	aboutNode := ofPod("ForcedPastBudget", "p")
	aboutNode.Regarding.Kind = "Node"
	cases := map[string][]step{
		"each on its path": {
			{event: ofPod("EvictedForInterruption", "p"), want: []string{"1 Pod Evicted of a"}},
			{event: ofPod("HandedOver", "q"), want: []string{"1 Pod HandedOver of a"}},
			{event: ofPod("ForcedPastBudget", "r"), want: []string{"1 Pod Forced of a"}},
			{event: ofPod("GraceShortened", "r"), want: []string{"1 ShortenedGrace  of a"}},
		},
		"once, however often their Event is seen": {
			{event: ofPod("ForcedPastBudget", "p"), want: []string{"1 Pod Forced of a"}},
			{event: ofPod("ForcedPastBudget", "p")},
			{event: ofPod("ForcedPastBudget", "p")},
		},
		"by what an Event's count rises": {
			{event: ofPod("ForcedPastBudget", "p"), want: []string{"1 Pod Forced of a"}},
			{event: times(ofPod("ForcedPastBudget", "p"), 3), want: []string{"2 Pod Forced of a"}},
			{event: times(ofPod("ForcedPastBudget", "p"), 3)},
			{event: times(ofPod("ForcedPastBudget", "p"), 2)},
			{event: times(ofPod("ForcedPastBudget", "p"), 4), want: []string{"1 Pod Forced of a"}},
		},
		"once more when an Event from before the term is counted on": {
			{event: times(ofPod("ForcedPastBudget", "p"), 7), want: []string{"1 Pod Forced of a"}},
			{event: times(ofPod("ForcedPastBudget", "p"), 9), want: []string{"2 Pod Forced of a"}},
		},
		"never by Events of others or about others": {
			{event: others},
			{event: aboutNode},
			{event: ofPod("Unheard", "p")},
		},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, steps)
		})
	}
}
