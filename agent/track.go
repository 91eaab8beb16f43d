package agent

import (
	"cmp"
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
	// Emitted is when the cloud gave an advice, on our clock; zero where it did not
	// say.
	Emitted time.Time `json:"emitted,omitzero"`
	// Lasts is how long a freeze takes; zero where that is not known, or it is none.
	Lasts time.Duration `json:"lasts,omitempty"`
	// Advice is what is done about the notice short of a drain, HandOver or
	// CordonSoftly; empty where the node is drained.
	Advice Response `json:"advice,omitempty"`
	// Raw is what the cloud said, cut to MaxRaw bytes.
	Raw string `json:"raw,omitempty"`
}

const (
	// unseenMargin is taken off the nominal notice when the cloud's moment is
	// of no use: the notice may have been readable for as long as a few polls
	// and retries take, or as long as nobody looked where that was longer.
	unseenMargin = 15 * time.Second
	// blindDeadline is what we assume when, besides, nobody was looking before;
	// of a notice longer than a spot one it is a quarter.
	blindDeadline = 30 * time.Second
	// leastLead is what an estimate leaves at least: a machine that still
	// answers is worth an attempt, even where the cloud promises it no time at
	// all (EC2 hibernates with the notice).
	leastLead = 10 * time.Second
	// daysAhead is a nominal notice from whose length nothing follows: what is
	// announced so early comes at a moment that only the cloud can name.
	daysAhead = 24 * time.Hour
	// overdue is what we assume when that moment has passed or the cloud says that
	// it has begun, and the machine runs: as much as a spot notice.
	overdue = 2 * time.Minute
	// dateHalf is half of what a Date header leaves out: it counts whole
	// seconds, so its middle is wrong by the least (RFC 9110, section 5.6.7).
	dateHalf = 500 * time.Millisecond
)

// never says that nobody looked before.
const never time.Duration = -1

// anchor turns the cloud's moment into D on the clock of firstSeen, the
// monotonic one. The distance is measured on the cloud's own clock, so that a
// wrong local one neither invents nor steals time, and is never longer than the
// cloud's nominal notice. unlooked is how long nobody has looked, since a poll that
// found nothing; never, if there was none. D is zero for None.
func anchor(s Sighting, firstSeen time.Time, unlooked time.Duration) (time.Time, DeadlineKind) {
	if left := min(s.At.Sub(cloudNow(s, firstSeen)), s.Nominal); !s.At.IsZero() && left > 0 {
		return firstSeen.Add(left), cmp.Or(s.AtKind, Exact)
	}
	switch {
	case s.State == Advisory && s.At.IsZero():
		return time.Time{}, None
	case s.Nominal >= daysAhead && s.At.IsZero() && s.State != Started:
		return time.Time{}, None
	case s.Nominal >= daysAhead:
		return firstSeen.Add(overdue), Estimated
	case unlooked == never:
		return firstSeen.Add(min(max(blindDeadline, s.Nominal/4), max(s.Nominal, leastLead))), Estimated
	}
	return firstSeen.Add(max(s.Nominal-max(unseenMargin, unlooked), leastLead)), Estimated
}

// cloudNow is what the clock of the cloud showed when it said s; ours, where it does
// not say.
func cloudNow(s Sighting, now time.Time) time.Time {
	if s.ServerTime.IsZero() {
		return now
	}
	return s.ServerTime.Add(dateHalf)
}

// emitted is when the cloud gave the notice, on the clock of now and not after it; zero
// where it does not say.
func emitted(s Sighting, now time.Time) time.Time {
	if s.Emitted.IsZero() {
		return time.Time{}
	}
	return now.Add(-max(0, cloudNow(s, now).Sub(s.Emitted)))
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

// unlooked is how long before now the source was seen to say "none", so shortly that a
// notice can only have come since; never, where it was not. Polls that failed said
// nothing, and those of a source that asks seldom are far apart.
func (w word) unlooked(pace Pace, now time.Time) time.Duration {
	if gap := now.Sub(w.at); w.none && gap <= max(unseenMargin, pace.Every+pace.Timeout) {
		return gap
	}
	return never
}

// Observe takes in a successful poll of source at now. It returns the notices that are
// open at it, and the ids of those that the cloud still shows and says are over. An id
// closes when its source says "none": the same id seen again after that is a new notice.
func (t *Tracker) Observe(source Source, sightings []Sighting, now time.Time) (open []Notice, over []string) {
	key := sourceKey(source)
	before := t.said[key]
	current := word{at: now, notices: map[string]Notice{}}
	open = make([]Notice, 0, len(sightings))
	for _, s := range sightings {
		id := s.ID
		if id == "" {
			id = t.derive(source.Provider(), s)
		}
		if s.State == Cancelled || s.State == Gone {
			over = append(over, id)
			continue
		}
		notice, known := before.notices[id]
		if !known {
			notice = Notice{
				Provider: source.Provider(), Source: key, ID: id,
				Kind: s.Kind, Action: s.Action, FirstSeen: now, Emitted: emitted(s, now),
			}
		}
		deadline, kind := anchor(s, now, before.unlooked(source.Pace(), now))
		// The same words a second later say nothing new, except for a moment that the
		// cloud names: it may have moved. Or that it has begun, before that.
		named := kind == Exact || kind == Earliest
		begun := s.State == Started && notice.State != Started && deadline.Before(notice.Deadline)
		if !known || named || begun || notice.DeadlineKind == None {
			notice.Deadline, notice.DeadlineKind = deadline, kind
		}
		notice.State, notice.Lasts, notice.Raw = s.State, s.Lasts, s.Raw
		current.notices[id] = notice
		open = append(open, notice)
	}
	if t.said == nil {
		t.said = map[string]word{}
	}
	current.none = len(open) == 0
	t.said[key] = current
	return open, over
}

// sourceKey names a source in notices and in the node's state.
func sourceKey(source Source) string { return source.Provider() + "/" + source.Name() }

// derive makes an id for a cloud that gives none.
func (t *Tracker) derive(provider string, s Sighting) string {
	parts := []string{provider, t.Node, t.BootID, string(s.Kind), string(s.Action)}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return provider + "-" + string(s.Action) + "-" + hex.EncodeToString(sum[:6])
}
