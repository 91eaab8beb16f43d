package interruptions

import (
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

const (
	// wordWithin is how long after its deadline the word on a drain is awaited. Agents
	// give it before; the rest is for clocks that differ, of a node and of the leader.
	wordWithin = time.Minute
	// settleAfter is how long an interruption may be missing from its node before that
	// means anything: its Event may be on its way, and so may the node's annotation
	// where the Event was the faster.
	settleAfter = 30 * time.Second
	// unmarkedFor is how long the word is awaited on a node that is there and carries
	// nothing. Its annotation was refused, and the deadline with it: it is longer than
	// the notices that are drained for.
	unmarkedFor = 15 * time.Minute
	// keepFor is how long an interruption that is over is kept in mind, so that an Event
	// that comes late does not count it again.
	keepFor = 15 * time.Minute
)

// interruption is what is known of one.
type interruption struct {
	// marked is true once its node was seen to carry it; bootID and deadline are what it
	// carries.
	marked   bool
	bootID   string
	deadline time.Time
	// noticed is true once an Event has announced it.
	noticed bool
	// counted is true when it counts as an interruption, or is not to; ended when it is
	// known how its drain ended, or that nobody will say.
	counted, ended bool
	// missed is since when its node has not carried it; zero while it does.
	missed time.Time
	// over is true when nothing more is awaited.
	over bool
}

// sight is what is seen of the node at one look.
type sight struct {
	there   bool
	carries *drain.State // nil for nothing
}

// see takes note of what the node carries.
func (i *interruption) see(state *drain.State) {
	if i.over {
		// It was taken off and is back: another interruption, by the same notice.
		*i = interruption{}
	}
	i.marked, i.bootID, i.deadline, i.missed = true, state.BootID, state.Deadline, time.Time{}
}

// late says whether no word on the drain will come any more, by its deadline.
func (i *interruption) late(now time.Time) bool {
	return i.marked && !i.deadline.IsZero() && now.After(i.deadline.Add(wordWithin))
}

// settle returns what is certain when its node looks so; forget says that there is no
// reason to keep it in mind.
func (i *interruption) settle(now time.Time, id identity, node sight) (facts []Fact, forget bool) {
	if node.carries != nil && node.carries.Notice == id.notice {
		if i.late(now) {
			facts = i.end(id)
		}
		return facts, false
	}
	if i.supersededBy(node.carries) {
		return nil, true
	}
	if i.missed.IsZero() {
		i.missed = now
	}
	missing := now.Sub(i.missed)
	switch unmarked := !i.marked && !i.ended && node.there; {
	case i.over:
		return nil, missing >= keepFor
	case missing < settleAfter, unmarked && missing < unmarkedFor:
		return nil, false
	}
	i.over = true
	if i.noticed && !i.counted {
		facts = append(facts, id.fact(Interruption, Unknown))
	}
	i.counted = true
	return append(facts, i.end(id)...), false
}

// end returns that nobody has said how the drain ended, unless somebody has.
func (i *interruption) end(id identity) []Fact {
	if i.ended {
		return nil
	}
	i.ended = true
	return []Fact{id.fact(Drain, Unreported)}
}

// supersededBy says whether the drain goes on under another notice, as when an agent
// that was started anew is told of another first. A boot that is over has taken its
// drain with it.
func (i *interruption) supersededBy(other *drain.State) bool {
	return i.marked && other != nil && other.BootID == i.bootID
}
