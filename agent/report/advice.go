package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

// The reasons of Events about what is no interruption, or none yet. Nobody who counts
// or filters the others shall take it for one.
const (
	// NoticeNoted is about the node: a cloud has announced what is acted on later, or
	// not at all.
	NoticeNoted = "NoticeNoted"
	// AdviceNoticed, AdviceFollowed and AdviceIncomplete are about the node, the others
	// about pods. One of the two in the middle comes at the end of each advice for
	// which pods are handed over: every critical pod has left, or not.
	AdviceNoticed      = "AdviceNoticed"
	AdviceFollowed     = "AdviceFollowed"
	AdviceIncomplete   = "AdviceIncomplete"
	HandedOverOnAdvice = "HandedOverOnAdvice"
	EvictedOnAdvice    = "EvictedOnAdvice"
)

// onAdvice holds the reason that an advice has in the place of an interruption's.
// Nothing is forced on one, and no grace is shortened.
var onAdvice = map[string]string{
	InterruptionNoticed: AdviceNoticed, NodeDrained: AdviceFollowed, DrainIncomplete: AdviceIncomplete,
	HandedOver: HandedOverOnAdvice, EvictedForInterruption: EvictedOnAdvice,
}

// begins holds the reasons of Events about a notice itself.
var begins = map[string]bool{InterruptionNoticed: true, DrillBegan: true, AdviceNoticed: true, NoticeNoted: true}

// responses say what is done about what is no interruption.
var responses = map[agent.Response]string{
	agent.HandOver:     "critical pods are moved within their disruption budgets, and the scheduler prefers other nodes",
	agent.CordonSoftly: "the scheduler prefers other nodes",
	agent.DrainBefore:  "the node is drained shortly before",
	agent.ReportOnly:   "nothing is done about it",
}

// isNoted says whether the notice is acted on later, or not at all.
func (s story) isNoted() bool {
	return s.notice.Advice == agent.DrainBefore || s.notice.Advice == agent.ReportOnly
}

// advised is the Event of a notice that is no interruption, or none yet. note tells of
// the notice.
func (s story) advised(note string) *eventsv1.Event {
	note += "; " + responses[s.notice.Advice]
	action := "FollowAdvice"
	switch {
	case s.isNoted():
		action = "NoteNotice"
	case !s.notice.Deadline.IsZero():
		note += ", until " + s.notice.Deadline.UTC().Format(time.RFC3339) + " at the latest"
	}
	return s.event(s.node, InterruptionNoticed, corev1.EventTypeNormal, action, note, s.notice.FirstSeen)
}

// followed is the Event of the end of an advice. That pods have stayed is no warning: the
// machine lives, and they are well.
func (s story) followed(report drain.Report) *eventsv1.Event {
	when := fmt.Sprintf("after %.0f s", report.Ended.Sub(s.notice.FirstSeen).Seconds())
	reason, note := NodeDrained, "Moved every critical pod "+when+"; "+counts(report)
	switch left := leftBehind(report); {
	case report.Unread != "":
		reason, note = DrainIncomplete, "Moved nothing "+when+"; the pods were not read: "+report.Unread
	case len(left) > 0:
		reason, note = DrainIncomplete, "Left critical pods where they are "+when+"; "+counts(report)+"; still here: "+strings.Join(left, ", ")
	}
	return s.event(s.node, reason, corev1.EventTypeNormal, "FollowAdvice", note, report.Ended)
}

// reason is what an interruption's reason is called in this story.
func (s story) reason(of string) string {
	switch {
	case s.notice.Kind == agent.Drill:
		return inDrill[of]
	case s.isNoted():
		return NoticeNoted
	case s.notice.Advice != "":
		return cmp.Or(onAdvice[of], of)
	}
	return of
}
