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
	// workloadPause is how long a workload is left alone after a rescue that failed;
	// its pods were disturbed, or would have been, for nothing.
	workloadPause = 10 * time.Minute
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
	paused  map[types.UID]time.Time // by controller, until when none of its pods is rescued
	quiet   time.Time               // until when no pod is
}

// LatelyPending lists the controllers whose pods our requirements lately left Pending,
// for [placement.NewSnapshot]; in order.
func (m Memory) LatelyPending() []types.UID { return slices.Sorted(maps.Keys(m.pending)) }

// Failed returns a memory in which the rescue of the pod has failed.
func (m Memory) Failed(pod *corev1.Pod, now time.Time) Memory {
	m.paused = maps.Clone(m.paused)
	if m.paused == nil {
		m.paused = map[types.UID]time.Time{}
	}
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		m.paused[owner.UID] = now.Add(workloadPause)
	}
	m.quiet = now.Add(failurePause)
	return m
}

// learn returns a copy without what is long past, and with what the pods tell.
func (m Memory) learn(pods []*corev1.Pod, now time.Time) Memory {
	learned := Memory{
		pending: unexpired(m.pending, now), paused: unexpired(m.paused, now), quiet: m.quiet,
		// Of the pods that still wait these are found again.
		room: map[types.UID]time.Time{}, gated: map[types.UID]time.Time{},
	}
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
