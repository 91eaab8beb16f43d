package agent

import (
	"context"
	"time"
)

// Kind says what is about to happen to the machine.
type Kind string

// The kinds of notice. They are label values and part of ids: never rename one.
const (
	SpotInterruption  Kind = "SpotInterruption"
	RebalanceAdvice   Kind = "RebalanceAdvice"
	Maintenance       Kind = "Maintenance"
	ScaleIn           Kind = "ScaleIn"
	NodeShutdown      Kind = "NodeShutdown"
	ClusterDisruption Kind = "ClusterDisruption"
)

// kinds are all of them.
var kinds = []Kind{SpotInterruption, RebalanceAdvice, Maintenance, ScaleIn, NodeShutdown, ClusterDisruption}

// Action says what the cloud will do to the machine at the deadline.
type Action string

// The actions clouds announce. A value a cloud invents later is kept as it came.
const (
	Terminate Action = "terminate"
	Stop      Action = "stop"
	Hibernate Action = "hibernate"
	Reboot    Action = "reboot"
	Redeploy  Action = "redeploy"
	Freeze    Action = "freeze"
	Migrate   Action = "migrate"
)

// State says how far the announced action has come.
type State string

// The states of a notice.
const (
	Advisory  State = "advisory"
	Scheduled State = "scheduled"
	Started   State = "started"
	Cancelled State = "cancelled"
	Gone      State = "gone"
)

// DeadlineKind says how far a deadline can be trusted.
type DeadlineKind string

// The kinds of deadline.
const (
	// Exact is the moment the cloud named.
	Exact DeadlineKind = "exact"
	// Earliest is a moment before which the cloud promises not to act.
	Earliest DeadlineKind = "earliest"
	// Estimated is our own reckoning: the cloud named no moment that can be used.
	Estimated DeadlineKind = "estimated"
	// None means that there is no deadline.
	None DeadlineKind = "none"
)

// Sighting is one notice as a source read it in one poll: the cloud's words,
// nothing concluded yet.
type Sighting struct {
	// ID is the cloud's own id of the event; empty where the cloud has none.
	ID     string
	Kind   Kind
	Action Action
	State  State
	// At is the moment the cloud names; zero when it names none or one that
	// cannot be read. An unreadable moment still makes a sighting.
	At time.Time
	// AtKind says what At is; empty means Exact. A moment that the source reckoned
	// by itself, from when a key changed, is Estimated.
	AtKind DeadlineKind
	// ServerTime is the Date header of the same reply, so that a wrong local
	// clock cannot shift At; zero when the reply had none.
	ServerTime time.Time
	// Nominal is the length of notice that the cloud documents for this kind.
	Nominal time.Duration
	// Emitted is when the cloud gave an advice, by its own clock; zero where it
	// does not say.
	Emitted time.Time
	// Lasts is how long the machine is frozen; zero where the cloud does not say, or
	// it is no freeze.
	Lasts time.Duration
	// Raw is the reply as it came, cut to MaxRaw bytes.
	Raw string
}

// MaxRaw is how many bytes of a reply a Sighting keeps.
const MaxRaw = 1024

// Pace says how a source wants to be asked. Each field is positive.
type Pace struct {
	// Every is the time from the begin of one poll to the begin of the next,
	// unless the poll takes longer. After a failed one the next comes within a
	// second, however long this is.
	Every time.Duration
	// Timeout bounds one poll. A long poll, which the cloud answers when there
	// is something to say, may take most of it.
	Timeout time.Duration
	// BlindAfter is how long the source may be without a success until it
	// counts as blind. One flaky poll is not blindness.
	BlindAfter time.Duration
}

// Source reads one place where a cloud announces interruptions.
type Source interface {
	// Provider names the cloud, Name the place within it; both are lower-case
	// and serve as metric labels and in ids.
	Provider() string
	Name() string
	// Pace says how this source wants to be asked. It never changes.
	Pace() Pace
	// Poll asks once, within ctx, which ends after Pace's Timeout at the latest. No
	// sightings and no error means that the cloud said "none"; an error means that
	// nothing could be seen, and says why on one line. Poll is never called twice at a
	// time.
	Poll(ctx context.Context) ([]Sighting, error)
}

// Acknowledger is a Source that can tell its cloud that the machine is ready for what
// was announced, so that it need not wait. It is called once the node is drained, and
// never for an advice; an error means that the cloud waits.
type Acknowledger interface {
	Acknowledge(ctx context.Context, id string) error
}
