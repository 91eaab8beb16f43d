package report

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

// The reasons of Events. People filter by them: never rename one.
const (
	// InterruptionNoticed is about the node: a cloud has announced its end.
	InterruptionNoticed = "InterruptionNoticed"
	// NodeDrained and DrainIncomplete are about the node, one of them at the end
	// of each drain: every pod that had to leave is known to have left, or not.
	NodeDrained     = "NodeDrained"
	DrainIncomplete = "DrainIncomplete"
	// HandedOver is about a pod that was evicted after its replacement was Ready.
	HandedOver = "HandedOver"
	// EvictedForInterruption is about a pod that left within its budget.
	EvictedForInterruption = "EvictedForInterruption"
	// ForcedPastBudget is about a pod that was deleted because its budget did
	// not let it go in time.
	ForcedPastBudget = "ForcedPastBudget"
	// GraceShortened is about a pod that was told to stop with less grace than
	// its own. It comes beside the Event that says how the pod left.
	GraceShortened = "GraceShortened"
)

// The reasons of Events about a drill, so that nobody who counts or filters the others
// takes it for an interruption.
const (
	// DrillBegan, DrillCompleted and DrillIncomplete are about the node, the others
	// about pods.
	DrillBegan            = "DrillBegan"
	DrillCompleted        = "DrillCompleted"
	DrillIncomplete       = "DrillIncomplete"
	HandedOverInDrill     = "HandedOverInDrill"
	EvictedInDrill        = "EvictedInDrill"
	ForcedInDrill         = "ForcedInDrill"
	GraceShortenedInDrill = "GraceShortenedInDrill"
)

// inDrill holds the reason that a drill has in the place of an interruption's.
var inDrill = map[string]string{
	InterruptionNoticed: DrillBegan, NodeDrained: DrillCompleted, DrainIncomplete: DrillIncomplete,
	HandedOver: HandedOverInDrill, EvictedForInterruption: EvictedInDrill,
	ForcedPastBudget: ForcedInDrill, GraceShortened: GraceShortenedInDrill,
}

// controller is what Events are reported by; a qualified name, as the API wants.
const controller = "ebbtide.dev/agent"

// What the API server takes (pkg/apis/core/validation/events.go), in bytes.
const (
	maxNote     = 1024
	maxInstance = 128
	maxName     = 253
)

// way says what a pod's path means in an Event: its reason and type, the action
// that was taken and the words for it.
type way struct{ reason, kind, action, words string }

// byPath holds the paths that are Ebbtide's doing. What ended by itself is no
// news, and a pod that was left behind is named by the node's Event.
var byPath = map[drain.Path]way{
	drain.Evicted:    {EvictedForInterruption, corev1.EventTypeNormal, "EvictPod", "Evicted within its disruption budget"},
	drain.Clamped:    {EvictedForInterruption, corev1.EventTypeNormal, "EvictPod", "Evicted within its disruption budget"},
	drain.Forced:     {ForcedPastBudget, corev1.EventTypeWarning, "DeletePod", "Deleted at its latest moment, since no disruption budget let it go before"},
	drain.HandedOver: {HandedOver, corev1.EventTypeNormal, "HandOverPod", "Evicted after its replacement was Ready"},
}

// story makes the Events of one drain.
type story struct {
	node   corev1.ObjectReference
	notice agent.Notice
}

// noticed is the Event of the notice itself.
func (s story) noticed() *eventsv1.Event {
	note := fmt.Sprintf("%s noticed by %s", s.notice.Kind, s.notice.Source)
	if s.notice.Action != "" {
		note += fmt.Sprintf(", action %s", s.notice.Action)
	}
	isAdvice := s.notice.Advice != "" && !s.isNoted() // its end is nobody's but our own
	if !s.notice.Deadline.IsZero() && !isAdvice {
		note += fmt.Sprintf(", due %s (%s), %.0f s from first sight", s.notice.Deadline.UTC().Format(time.RFC3339),
			s.notice.DeadlineKind, s.notice.Deadline.Sub(s.notice.FirstSeen).Seconds())
	}
	if s.notice.Advice != "" {
		return s.advised(note)
	}
	return s.event(s.node, InterruptionNoticed, corev1.EventTypeWarning, "DrainNode", note, s.notice.FirstSeen)
}

// ended is the Event of the end of the drain.
func (s story) ended(report drain.Report) *eventsv1.Event {
	if s.notice.Advice != "" {
		return s.followed(report)
	}
	pods := counts(report)
	when := fmt.Sprintf("after %.0f s, %.0f s before the deadline", report.Ended.Sub(s.notice.FirstSeen).Seconds(),
		report.Plan.Deadline.Sub(report.Ended).Seconds())
	if report.Complete() {
		return s.event(s.node, NodeDrained, corev1.EventTypeNormal, "DrainNode", "Drained "+when+"; "+pods, report.Ended)
	}
	note := "Gave up " + when + "; " + pods
	if report.Unread != "" {
		note = "Gave up " + when + "; the pods were not read: " + report.Unread
	}
	if left := leftBehind(report); len(left) > 0 {
		note += "; left behind: " + strings.Join(left, ", ")
	}
	return s.event(s.node, DrainIncomplete, corev1.EventTypeWarning, "DrainNode", note, report.Ended)
}

// counts says how many pods took which path.
func counts(report drain.Report) string {
	var counts []string
	for _, path := range drain.Paths {
		if n := report.Count(path); n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, path))
		}
	}
	if len(counts) == 0 {
		return "there were no pods to move"
	}
	return "pods: " + strings.Join(counts, ", ")
}

func leftBehind(report drain.Report) []string {
	var left []string
	for _, pod := range report.Pods {
		if pod.Path == drain.Lost || pod.Path == drain.CalledOff || pod.Path == drain.Spared {
			left = append(left, pod.String())
		}
	}
	return left
}

// pods are the Events of the pods, warnings first: if the time does not suffice
// for all of them, it shall suffice for what somebody may have to look into.
func (s story) pods(report drain.Report) []*eventsv1.Event {
	var events []*eventsv1.Event
	for _, pod := range report.Pods {
		events = append(events, s.pod(pod)...)
	}
	slices.SortStableFunc(events, func(a, b *eventsv1.Event) int { return cmp.Compare(b.Type, a.Type) })
	return events
}

func (s story) pod(pod drain.PodOutcome) []*eventsv1.Event {
	if pod.ToldAt.IsZero() {
		return nil
	}
	about := corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
	}
	var events []*eventsv1.Event
	if way, ours := byPath[pod.Path]; ours {
		note := fmt.Sprintf("%s, with %d s of grace: node %s %s", way.words, pod.GraceGiven, s.node.Name, s.befalls())
		if pod.HandOver != "" && pod.Path != drain.HandedOver {
			note += "; its hand-over ended with " + pod.HandOver
		}
		events = append(events, s.event(about, way.reason, way.kind, way.action, note, pod.ToldAt))
	}
	if pod.GraceGiven < pod.GraceWanted {
		note := fmt.Sprintf("Told to stop with %d s of the %d s of grace that it asks for: node %s has no more time",
			pod.GraceGiven, pod.GraceWanted, s.node.Name)
		events = append(events, s.event(about, GraceShortened, corev1.EventTypeWarning, "ShortenGrace", note, pod.ToldAt))
	}
	return events
}

// befalls says what befalls the node.
func (s story) befalls() string {
	switch {
	case s.notice.Kind == agent.Drill:
		return "is under a drill"
	case s.notice.Advice != "":
		return "may be taken away"
	}
	return "is being interrupted"
}

// event makes one Event. Its name follows from what it says: told again by an
// agent that resumes the drain, or after a reply that was lost, it is the same
// Event, which the API server has once.
func (s story) event(about corev1.ObjectReference, reason, kind, action, note string, at time.Time) *eventsv1.Event {
	reason = s.reason(reason)
	id := fnv.New64a()
	for _, part := range []string{s.notice.ID, string(about.UID), reason} {
		_, _ = id.Write([]byte(part + "\x00")) // a hash never fails
	}
	suffix := fmt.Sprintf(".%016x", id.Sum64())
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{
			// What a cut leaves at the end must not stand before a dot.
			Name: strings.TrimRight(cut(about.Name, maxName-len(suffix)), "-.") + suffix,
			// The API keeps the Events of what has no namespace in default.
			Namespace: cmp.Or(about.Namespace, metav1.NamespaceDefault),
		},
		EventTime:           metav1.NewMicroTime(at),
		ReportingController: controller,
		ReportingInstance:   cut(s.node.Name, maxInstance),
		Action:              action, Reason: reason, Type: kind,
		Regarding: about,
		Note:      s.note(note),
	}
	if about.Kind != s.node.Kind {
		event.Related = &s.node
	}
	return event
}

// note ends with the notice's id, by which one finds the drain in the logs.
func (s story) note(text string) string {
	suffix := cut(" (notice "+s.notice.ID, maxNote/2) + ")"
	if room := maxNote - len(suffix); len(text) > room {
		text = cut(text, room-len("…")) + "…"
	}
	return text + suffix
}

// cut returns as much of text as fits into limit bytes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// nodeReference names a node; without its UID where that is not known.
func nodeReference(name string, uid types.UID) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: uid}
}
