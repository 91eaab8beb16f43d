package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Notice is what the agent concludes from a source's sightings: one
// interruption, with a deadline on our own clock.
type Notice struct {
	Provider string `json:"provider"`
	Source   string `json:"source"`
	// ID is the cloud's own id, or one derived from provider, node, boot, kind
	// and action; never from a clock, so that every poll gives the same.
	ID     string `json:"id"`
	Kind   Kind   `json:"kind"`
	Action Action `json:"action"`
	State  State  `json:"state"`
	// Deadline is D; zero when DeadlineKind is none.
	Deadline     time.Time    `json:"deadline,omitzero"`
	DeadlineKind DeadlineKind `json:"deadlineKind"`
	FirstSeen    time.Time    `json:"firstSeen"`
	// Emitted is when the cloud gave an advice, on our clock; FirstSeen where it did
	// not say.
	Emitted time.Time `json:"emitted,omitzero"`
	// Lasts is how long a freeze takes; zero where that is not known, or it is none.
	Lasts time.Duration `json:"lasts,omitempty"`
	// Raw is what the cloud said, cut to MaxRaw bytes.
	Raw string `json:"raw,omitempty"`
}

const (
	// unseenMargin is taken off the nominal notice when the cloud's moment is
	// of no use: the notice may have been readable for as long as a few polls
	// and retries take.
	unseenMargin = 15 * time.Second
	// blindDeadline is what we assume when, besides, nobody was looking before.
	blindDeadline = 30 * time.Second
	// leastLead is what an estimate leaves at least: a machine that still
	// answers is worth an attempt, even where the cloud promises it no time at
	// all (EC2 hibernates with the notice).
	leastLead = 10 * time.Second
	// dateHalf is half of what a Date header leaves out: it counts whole
	// seconds, so its middle is wrong by the least (RFC 9110, section 5.6.7).
	dateHalf = 500 * time.Millisecond
)

// anchor turns the cloud's moment into D on the clock of firstSeen, the
// monotonic one. The distance is measured on the cloud's own clock, so that a
// wrong local one neither invents nor steals time, and is never longer than the
// cloud's nominal notice. sawNone says that the poll before this sighting found
// nothing.
func anchor(s Sighting, firstSeen time.Time, sawNone bool) (time.Time, DeadlineKind) {
	cloudNow := s.ServerTime.Add(dateHalf)
	if s.ServerTime.IsZero() {
		cloudNow = firstSeen
	}
	if left := min(s.At.Sub(cloudNow), s.Nominal); !s.At.IsZero() && left > 0 {
		return firstSeen.Add(left), Exact
	}
	if sawNone {
		return firstSeen.Add(max(s.Nominal-unseenMargin, leastLead)), Estimated
	}
	return firstSeen.Add(blindDeadline), Estimated
}

// Tracker concludes notices from what sources say in successive polls. It
// holds what a single poll cannot know: when a notice was first seen, and
// whether the source had said "none" before. It takes the time as an argument
// and is not safe for concurrent use.
type Tracker struct {
	// Node and BootID tell this machine's interruptions from every other's.
	Node, BootID string

	said map[string]word
}

// word is the last thing that a source said.
type word struct {
	at      time.Time
	none    bool
	notices map[string]Notice
}

// sawNone says whether the source was seen to say "none" so shortly before now
// that a notice can only have come since. Polls that failed said nothing.
func (w word) sawNone(now time.Time) bool { return w.none && now.Sub(w.at) <= unseenMargin }

// Observe takes in a successful poll of source at now and returns the notices
// that are open at it. An id closes when its source says "none": the same id
// seen again after that is a new notice.
func (t *Tracker) Observe(source Source, sightings []Sighting, now time.Time) []Notice {
	key := sourceKey(source)
	before := t.said[key]
	current := word{at: now, notices: map[string]Notice{}}
	open := make([]Notice, 0, len(sightings))
	for _, s := range sightings {
		if s.State == Cancelled || s.State == Gone {
			continue // the cloud still shows it, and says that it is over
		}
		id := s.ID
		if id == "" {
			id = t.derive(source.Provider(), s)
		}
		notice, known := before.notices[id]
		if !known {
			notice = Notice{
				Provider: source.Provider(), Source: key, ID: id,
				Kind: s.Kind, Action: s.Action, FirstSeen: now,
			}
		}
		deadline, kind := anchor(s, now, before.sawNone(now))
		// The same words a second later say nothing new, except for an exact
		// moment: it may have moved.
		if !known || kind == Exact {
			notice.Deadline, notice.DeadlineKind = deadline, kind
		}
		notice.State, notice.Raw = s.State, s.Raw
		current.notices[id] = notice
		open = append(open, notice)
	}
	if t.said == nil {
		t.said = map[string]word{}
	}
	current.none = len(open) == 0
	t.said[key] = current
	return open
}

// sourceKey names a source in notices and in the node's state.
func sourceKey(source Source) string { return source.Provider() + "/" + source.Name() }

// derive makes an id for a cloud that gives none.
func (t *Tracker) derive(provider string, s Sighting) string {
	parts := []string{provider, t.Node, t.BootID, string(s.Kind), string(s.Action)}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return provider + "-" + string(s.Action) + "-" + hex.EncodeToString(sum[:6])
}
