package audit

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/placement"
)

const (
	// remembered is how long the mode Auto requires nothing of a workload whose pod
	// waited: long enough for a rollout, short enough that the pods of the next day find
	// their long-lived nodes again.
	remembered = 10 * time.Minute
	// workloadPause is how long a workload is left alone after a rescue that failed. It
	// doubles, up to longestPause, each time that a pod was disturbed for nothing: while
	// the webhook is out of reach, every replacement may come to a spot node.
	workloadPause = 10 * time.Minute
	longestPause  = 4 * time.Hour
	// failurePause is how long no pod at all is rescued after one that failed. What was
	// in the way of one is often in the way of all.
	failurePause = time.Minute
)

// Memory is what an audit has to know of those before it. The zero value knows
// nothing, and costs little: a pod may have to wait once more, or be tried once more.
// A Memory is never changed.
type Memory struct {
	pending map[types.UID]time.Time // by controller, until when the mode Auto does not require
	room    map[types.UID]time.Time // by pod that waits, since when a long-lived node has seemed to have room
	gated   map[types.UID]time.Time // by pod that waits, when it was last seen with a scheduling gate
	setback map[types.UID]setback   // by controller whose rescue failed
	quiet   time.Time               // until when no pod is
}

// setback is what is known of a workload whose rescue failed.
type setback struct {
	until time.Time     // none of its pods is rescued before
	pause time.Duration // after the last pod that was disturbed for nothing; 0 is none was
}

// LatelyPending lists the controllers whose pods our requirements lately left Pending,
// for [placement.NewSnapshot]; in order.
func (m Memory) LatelyPending() []types.UID { return slices.Sorted(maps.Keys(m.pending)) }

// Failed returns a memory in which the rescue of the pod has ended so, and how long its
// workload is left alone for it.
func (m Memory) Failed(pod *corev1.Pod, end Moved, now time.Time) (_ Memory, pause time.Duration) {
	m.quiet = now.Add(failurePause)
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return m, failurePause
	}
	known := m.setback[owner.UID]
	pause = workloadPause
	if end.disturbed() && !begun(pod) { // one that was begun should not stay handed over for hours
		pause = min(max(2*known.pause, workloadPause), longestPause)
		known.pause = pause
	}
	known.until = now.Add(pause)
	m.setback = maps.Clone(m.setback)
	if m.setback == nil {
		m.setback = map[types.UID]setback{}
	}
	m.setback[owner.UID] = known
	return m, pause
}

// Rescued returns a memory in which the pod has been rescued: what went wrong with its
// workload before is over.
func (m Memory) Rescued(pod *corev1.Pod) Memory {
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		m.setback = maps.Clone(m.setback)
		delete(m.setback, owner.UID)
	}
	return m
}

// paused says whether no pod of the controller is to be rescued for now.
func (m Memory) paused(controller types.UID, now time.Time) bool {
	return m.setback[controller].until.After(now)
}

// learn returns a copy without what is long past, and with what the pods tell.
func (m Memory) learn(pods []*corev1.Pod, now time.Time) Memory {
	learned := Memory{
		pending: unexpired(m.pending, now), setback: maps.Clone(m.setback), quiet: m.quiet,
		// Of the pods that still wait these are found again.
		room: map[types.UID]time.Time{}, gated: map[types.UID]time.Time{},
	}
	// After its pause a workload is yet to be tried again, which may take its time.
	maps.DeleteFunc(learned.setback, func(_ types.UID, s setback) bool { return !s.until.Add(longestPause).After(now) })
	for _, pod := range pods {
		owner := metav1.GetControllerOfNoCopy(pod)
		if owner == nil {
			continue
		}
		record, found := placement.ReadRecord(pod)
		until := pod.CreationTimestamp.Add(remembered)
		if found && record.Reason == placement.PendingBefore && until.After(now) && until.After(learned.pending[owner.UID]) {
			learned.pending[owner.UID] = until
		}
	}
	return learned
}

func unexpired(until map[types.UID]time.Time, now time.Time) map[types.UID]time.Time {
	kept := make(map[types.UID]time.Time, len(until))
	for uid, end := range until {
		if end.After(now) {
			kept[uid] = end
		}
	}
	return kept
}
