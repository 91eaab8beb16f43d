package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// fate is what has to come of an episode that was shown.
type fate string

const (
	emptied fate = "emptied" // the node is emptied once
	planned fate = "planned" // it is noted, and the node emptied once, later
	advised fate = "advised" // the critical pod moves, and all is undone
	noted   fate = "noted"   // somebody is told
)

// habit is a kind of notice that a source gives.
type habit struct {
	fate fate
	says Sighting
	// lead is how long after its begin the cloud means to act, 0 where it names no
	// moment; lasts is how long the notice is shown, of a planned one beyond lead.
	lead, lasts time.Duration
	// native is true where the cloud has an id for each.
	native bool
	// flaky is how long after its begin the notice may be missing in a reply; 0 means as
	// long as it is shown.
	flaky time.Duration
}

// episode is one notice of a week, as the cloud shows it from begin to end.
type episode struct {
	habit
	source     string
	begin, end time.Duration
	id         string
	// What the source has told the agent, and when first.
	told  int
	first time.Duration
}

// String tells the episode from others, where a test fails.
func (e *episode) String() string {
	return fmt.Sprintf("%s by %s from %s to %s, told %d times from %s on",
		e.says.Kind, e.source, e.begin, e.end, e.told, e.first)
}

// outage is a time in which a source fails in one way.
type outage struct {
	how      mishap
	from, to time.Duration
}

// mishap is a way in which a source fails. Garbage is an error, by the conformance suite.
type mishap int

const (
	fails mishap = iota // at once, with an error
	hangs               // until its time is up
	omits               // says "none", whatever there is
)

// flapper is a source in the shape of a provider's, with a week of notices and outages.
type flapper struct {
	provider, name string
	pace           Pace
	// hold is how long a poll waits for something new; 0 answers at once.
	hold   time.Duration
	habits []habit

	start    time.Time
	random   *rand.Rand
	episodes []*episode // in order, none while another is shown
	outages  []outage   // in order, none within another
	sent     *episode   // what the last poll that went well told
	polls    int
}

var _ Source = (*flapper)(nil)

func (f *flapper) Provider() string { return f.provider }

func (f *flapper) Name() string { return f.name }

func (f *flapper) Pace() Pace { return f.pace }

// Poll forgets what is past: the agent never asks for an earlier moment.
func (f *flapper) Poll(ctx context.Context) ([]Sighting, error) {
	f.polls++
	now := time.Since(f.start)
	if shown := f.at(now); f.hold > 0 && shown == f.sent && f.failing(now) == nil {
		if err := f.wait(ctx, now); err != nil {
			return nil, err
		}
		now = time.Since(f.start)
	}
	shown := f.at(now)
	if o := f.failing(now); o != nil {
		switch {
		case o.how == hangs:
			<-ctx.Done()
			return nil, ctx.Err()
		case o.how == fails && f.hold > 0:
			return nil, f.rest(ctx)
		case o.how == fails:
			return nil, errBroken
		case shown != nil && now < shown.begin+shown.flaky:
			shown = nil
		}
	}
	f.sent = shown
	if shown == nil {
		return nil, nil
	}
	if shown.told++; shown.told == 1 {
		shown.first = now
	}
	return []Sighting{f.sight(shown, now)}, nil
}

// wait holds a poll until something changes or its time is up.
func (f *flapper) wait(ctx context.Context, now time.Duration) error {
	until := now + f.hold
	for _, change := range f.changes() {
		if change > now {
			until = min(until, change)
		}
	}
	select {
	case <-time.After(until - now):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rest is a failure after the pause that a source makes by itself which would be asked
// again at once.
func (f *flapper) rest(ctx context.Context) error {
	select {
	case <-time.After(time.Second):
		return errBroken
	case <-ctx.Done():
		return ctx.Err()
	}
}

// changes are the next moments at which the answer may be another.
func (f *flapper) changes() []time.Duration {
	var next []time.Duration
	if len(f.episodes) > 0 {
		next = append(next, f.episodes[0].begin, f.episodes[0].end)
	}
	if len(f.outages) > 0 {
		next = append(next, f.outages[0].from)
	}
	return next
}

// at is the episode that is shown at a moment; nil if none is.
func (f *flapper) at(now time.Duration) *episode {
	for len(f.episodes) > 0 && now >= f.episodes[0].end {
		f.episodes = f.episodes[1:]
	}
	if len(f.episodes) == 0 || now < f.episodes[0].begin {
		return nil
	}
	return f.episodes[0]
}

// failing is the outage of a moment; nil if there is none.
func (f *flapper) failing(now time.Duration) *outage {
	for len(f.outages) > 0 && now >= f.outages[0].to {
		f.outages = f.outages[1:]
	}
	if len(f.outages) == 0 || now < f.outages[0].from {
		return nil
	}
	return &f.outages[0]
}

// sight is the episode as a reply has it, by a clock of the cloud that goes an hour fast
// and tells whole seconds.
func (f *flapper) sight(e *episode, now time.Duration) Sighting {
	const fast = time.Hour
	s := e.says
	s.ID, s.Raw = e.id, "{}"
	s.ServerTime = f.start.Add(now + fast).Truncate(time.Second)
	if e.lead > 0 {
		s.At = f.start.Add(e.begin + e.lead + fast)
	}
	if s.Kind == RebalanceAdvice {
		s.Emitted = f.start.Add(e.begin + fast)
	}
	return s
}

// calm is how long after each episode every source is well: the agent has to see that it
// is over before the next begins, or the two are one.
const calm = 6 * time.Minute

// live gives the source outages until end, but for the times of calm.
func (f *flapper) live(begin, end time.Duration) {
	for now := begin; ; {
		now += within(f.random, time.Second, 4*time.Minute)
		o := outage{how: mishap(f.random.IntN(3)), from: now, to: now + f.span()}
		if o.how == omits {
			// One reply or a few. A notice that is missing for a minute has been taken
			// back, so a source that asks seldom has to see it again meanwhile.
			o.to = now + within(f.random, time.Second, 20*time.Second)
		}
		if o.to > end {
			return
		}
		now = o.to
		if o.how == omits {
			now += 90 * time.Second
		}
		f.outages = append(f.outages, o)
	}
}

// spare cuts the outages off that reach into a time of calm.
func (f *flapper) spare(from, to time.Duration) {
	var left []outage
	for _, o := range f.outages {
		switch {
		case o.to <= from || o.from >= to:
			left = append(left, o)
		case o.from < from:
			left = append(left, outage{how: o.how, from: o.from, to: from})
		}
	}
	f.outages = left
}

// span is how long an outage takes: seconds as a rule, half an hour at most.
func (f *flapper) span() time.Duration {
	switch n := f.random.IntN(100); {
	case n < 60:
		return within(f.random, 100*time.Millisecond, 5*time.Second)
	case n < 90:
		return within(f.random, 5*time.Second, time.Minute)
	case n < 99:
		return within(f.random, time.Minute, 5*time.Minute)
	}
	return within(f.random, 5*time.Minute, 30*time.Minute)
}

// within is a time from least to most.
func within(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)))
}
