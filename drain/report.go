package drain

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// PodRef names one pod: a namespace and name can be taken over by another pod,
// the UID cannot.
type PodRef struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
}

// String returns namespace/name, as kubectl prints it.
func (p PodRef) String() string { return p.Namespace + "/" + p.Name }

// Path is the way a pod left its node. The values are stable: they are metric
// labels and part of the report.
type Path string

// The paths. Every move of a plan ends in exactly one of them.
const (
	// Evicted: the eviction API took it, within its budget and with its own grace.
	Evicted Path = "Evicted"
	// HandedOver: evicted when its replacement stood in for it.
	HandedOver Path = "HandedOver"
	// Clamped: evicted within its budget, with less grace than its own because
	// the machine has no more.
	Clamped Path = "Clamped"
	// Forced: deleted at its latest moment, because its budget did not open.
	Forced Path = "Forced"
	// Finished: its containers ended by themselves before it was touched.
	Finished Path = "Finished"
	// AlreadyGone: it went, or was on its way out, before it was touched.
	AlreadyGone Path = "AlreadyGone"
	// Lost: still on the node when the time was up.
	Lost Path = "Lost"
	// CalledOff: still on the node when the drain was called off.
	CalledOff Path = "CalledOff"
	// Spared: left where it is by a gentle drain, because it could not leave within
	// its budget and with all of its own grace; see [Policy.Gentle].
	Spared Path = "Spared"
)

// Paths lists every path, for metrics that are born at zero.
var Paths = []Path{Evicted, HandedOver, Clamped, Forced, Finished, AlreadyGone, Lost, CalledOff, Spared}

// PodOutcome says what became of one planned pod.
type PodOutcome struct {
	PodRef
	Path Path `json:"path"`
	// ToldAt is when the API server accepted the eviction or deletion; zero
	// when it never did.
	ToldAt time.Time `json:"toldAt,omitzero"`
	// ToldByOthers is true when somebody else had told it before a call of ours was
	// accepted.
	ToldByOthers bool `json:"toldByOthers,omitempty"`
	// GoneAt is when the watch saw the pod end; zero when it did not.
	GoneAt time.Time `json:"goneAt,omitzero"`
	// GraceWanted is the pod's own grace, GraceGiven what it was sent; zero
	// when nothing was sent. In seconds.
	GraceWanted int64 `json:"graceWantedSeconds"`
	GraceGiven  int64 `json:"graceGivenSeconds"`
	// SlackSeconds is what was left before the deadline when it was gone.
	SlackSeconds float64 `json:"slackSeconds"`
	// HandOver is how its hand-over came out: Ready, Failed, or the refusal;
	// empty when none was tried.
	HandOver string `json:"handOver,omitempty"`
	// Tries counts the calls that asked it to leave.
	Tries int `json:"tries"`
	// Err is the last refusal; empty when there was none.
	Err string `json:"error,omitempty"`
}

// CordonOutcome says how the cordon went. A failed cordon never stops a drain.
type CordonOutcome struct {
	// Done is when the node was marked; zero when it was not.
	Done time.Time `json:"done,omitzero"`
	// Ours is true when the node was schedulable before and is not any more; an advice
	// leaves it as it is.
	Ours bool `json:"ours"`
	// Err is the last error; empty when there was none.
	Err string `json:"error,omitempty"`
}

// Report is the whole story of one drain.
type Report struct {
	// Unread is why the node's pods could not be read before the time was up;
	// empty when they were. The plan is empty then, for want of knowing better.
	Unread string        `json:"unread,omitempty"`
	Plan   Plan          `json:"plan"`
	Cordon CordonOutcome `json:"cordon"`
	// Balancers says how the node left the external load balancers.
	Balancers ExclusionOutcome `json:"balancers"`
	// Volumes holds what became of the volumes of the pods that had to leave and
	// that were attached to the node; empty when there were none.
	Volumes []VolumeOutcome `json:"volumes,omitempty"`
	// Pods holds one outcome for each of the plan's moves, in its order.
	Pods []PodOutcome `json:"pods"`
	// Ended is when the last pod was gone, or when the drain gave up on the rest.
	Ended time.Time `json:"ended"`
}

// Complete says whether every pod that had to leave is known to have left.
func (r Report) Complete() bool {
	return r.Unread == "" && r.Count(Lost)+r.Count(CalledOff)+r.Count(Spared) == 0
}

// Count returns how many pods took path.
func (r Report) Count(path Path) int {
	n := 0
	for _, pod := range r.Pods {
		if pod.Path == path {
			n++
		}
	}
	return n
}
