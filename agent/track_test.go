package agent

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noon is the moment at which tests without a clock take place.
var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func TestAnAnchoredDeadline(t *testing.T) {
	t.Parallel()
	const nominal = 2 * time.Minute
	// date is what a Date header says at noon, on average: it leaves out what
	// is less than a second.
	date := noon.Add(-dateHalf)
	cases := map[string]struct {
		at, date time.Time
		nominal  time.Duration
		sawNone  bool
		want     time.Duration
		kind     DeadlineKind
	}{
		"is the cloud's moment":                        {noon.Add(90 * time.Second), date, nominal, true, 90 * time.Second, Exact},
		"is the cloud's moment to the millisecond":     {noon.Add(90123 * time.Millisecond), date, nominal, true, 90123 * time.Millisecond, Exact},
		"is no later than the nominal notice":          {noon.Add(time.Hour), date, nominal, true, nominal, Exact},
		"needs no earlier poll where it is exact":      {noon.Add(90 * time.Second), date, nominal, false, 90 * time.Second, Exact},
		"is exact down to a moment ahead":              {noon.Add(time.Millisecond), date, nominal, true, time.Millisecond, Exact},
		"gains nothing by a local clock an hour slow":  {noon.Add(time.Hour + 90*time.Second), date.Add(time.Hour), nominal, true, 90 * time.Second, Exact},
		"loses nothing by a local clock an hour fast":  {noon.Add(-time.Hour + 90*time.Second), date.Add(-time.Hour), nominal, true, 90 * time.Second, Exact},
		"counts on the local clock without a Date":     {noon.Add(90 * time.Second), time.Time{}, nominal, true, 90 * time.Second, Exact},
		"is estimated when the moment has passed":      {noon.Add(-time.Second), date, nominal, true, nominal - 15*time.Second, Estimated},
		"is estimated when the moment is now":          {noon, date, nominal, true, nominal - 15*time.Second, Estimated},
		"is estimated when the moment is unreadable":   {time.Time{}, date, nominal, true, nominal - 15*time.Second, Estimated},
		"is estimated without any date at all":         {time.Time{}, time.Time{}, nominal, true, nominal - 15*time.Second, Estimated},
		"is 30 s away when nobody looked before":       {noon.Add(-time.Second), date, nominal, false, 30 * time.Second, Estimated},
		"is 30 s away, unreadable and not looked for":  {time.Time{}, date, nominal, false, 30 * time.Second, Estimated},
		"is 10 s away where the cloud promises none":   {noon, date, 0, true, 10 * time.Second, Estimated},
		"is no moment that was promised no time":       {noon.Add(time.Minute), date, 0, true, 10 * time.Second, Estimated},
		"is 10 s away where less than that would stay": {time.Time{}, date, 20 * time.Second, true, 10 * time.Second, Estimated},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Sighting{At: c.at, ServerTime: c.date, Nominal: c.nominal}
			unlooked := never
			if c.sawNone {
				unlooked = time.Second
			}
			deadline, kind := anchor(s, noon, unlooked)
			if got := deadline.Sub(noon); got != c.want || kind != c.kind {
				t.Errorf("deadline is %v away and %s, want %v and %s", got, kind, c.want, c.kind)
			}
		})
	}
}

// tracked is a Tracker that one source, or a few, talk to once a second.
type tracked struct {
	Tracker
	now time.Time
}

func newTracked() *tracked {
	return &tracked{Tracker: Tracker{Node: "node-1", BootID: "this-boot"}, now: noon}
}

var spot, other = &script{name: "spot"}, &script{name: "other"}

// poll lets source say sightings, a second after the poll before.
func (tr *tracked) poll(source Source, sightings ...Sighting) []Notice {
	tr.now = tr.now.Add(time.Second)
	open, _ := tr.Observe(source, sightings, tr.now)
	return open
}

// one returns the only notice of notices.
func one(t *testing.T, notices []Notice) Notice {
	t.Helper()
	if len(notices) != 1 {
		t.Fatalf("got %d notices, want one", len(notices))
	}
	return notices[0]
}

func TestANoticeStaysTheSameInEveryPoll(t *testing.T) {
	t.Parallel()
	tr := newTracked()
	tr.poll(spot)
	end := tr.now.Add(90 * time.Second)
	first := one(t, tr.poll(spot, sighting(tr.now.Add(time.Second), end)))
	want := Notice{
		Provider: "test", Source: "test/spot", ID: first.ID, Kind: SpotInterruption, Action: Terminate,
		State: Scheduled, Deadline: end, DeadlineKind: Exact, FirstSeen: noon.Add(2 * time.Second),
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("notice (-want +got):\n%s", diff)
	}
	for range 10 {
		if diff := cmp.Diff(first, one(t, tr.poll(spot, sighting(tr.now.Add(time.Second), end)))); diff != "" {
			t.Fatalf("a later poll (-first +later):\n%s", diff)
		}
	}
}

func TestANoticeClosesWhenItsSourceSaysNone(t *testing.T) {
	t.Parallel()
	tr := newTracked()
	unreadable := sighting(noon, time.Time{})
	first := one(t, tr.poll(spot, unreadable))
	if open := tr.poll(spot); len(open) != 0 {
		t.Errorf("%v is open after none was said", open)
	}
	again := one(t, tr.poll(spot, unreadable))
	if again.ID != first.ID {
		t.Errorf("its id was %q and is %q", first.ID, again.ID)
	}
	if want := noon.Add(3 * time.Second); !again.FirstSeen.Equal(want) {
		t.Errorf("it was first seen at %v, want %v: it is a new one", again.FirstSeen, want)
	}
	if want := again.FirstSeen.Add(105 * time.Second); !again.Deadline.Equal(want) {
		t.Errorf("its deadline is %v, want %v: the poll before said none", again.Deadline, want)
	}
}

func TestADeadlineMovesOnlyByAnExactWord(t *testing.T) {
	t.Parallel()
	exact := func(left time.Duration) func(time.Time) Sighting {
		return func(now time.Time) Sighting { return sighting(now, now.Add(left)) }
	}
	useless := func(now time.Time) Sighting { return sighting(now, time.Time{}) }
	cases := map[string]struct {
		first, second func(time.Time) Sighting
		want          time.Duration // after the second poll, from the first
		kind          DeadlineKind
	}{
		"an exact one moves forward":         {exact(90 * time.Second), exact(30 * time.Second), 31 * time.Second, Exact},
		"an exact one moves back":            {exact(30 * time.Second), exact(90 * time.Second), 91 * time.Second, Exact},
		"an exact one outlives its date":     {exact(90 * time.Second), useless, 90 * time.Second, Exact},
		"an estimate stays where it was":     {useless, useless, 30 * time.Second, Estimated},
		"an estimate gives way to exactness": {useless, exact(90 * time.Second), 91 * time.Second, Exact},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTracked()
			first := tr.now.Add(time.Second)
			tr.poll(spot, c.first(first))
			notice := one(t, tr.poll(spot, c.second(first.Add(time.Second))))
			if got := notice.Deadline.Sub(first); got != c.want || notice.DeadlineKind != c.kind {
				t.Errorf("deadline is %v away and %s, want %v and %s", got, notice.DeadlineKind, c.want, c.kind)
			}
		})
	}
}

func TestTwoNoticesOfOneSourceAreTwo(t *testing.T) {
	t.Parallel()
	tr := newTracked()
	tr.poll(spot)
	a, b := sighting(noon, time.Time{}), sighting(noon, time.Time{})
	a.ID, b.ID = "a", "b"
	tr.poll(spot, a)
	both := tr.poll(spot, a, b)
	if len(both) != 2 || both[0].ID != "a" || both[1].ID != "b" {
		t.Fatalf("notices are %v, want a and b", both)
	}
	if first, second := both[0].FirstSeen.Sub(noon), both[1].FirstSeen.Sub(noon); first != 2*time.Second || second != 3*time.Second {
		t.Errorf("first seen at %v and %v, want 2 s and 3 s", first, second)
	}
	if only := one(t, tr.poll(spot, b)); only.ID != "b" || !only.FirstSeen.Equal(both[1].FirstSeen) {
		t.Errorf("after the end of a: %+v, want b as it was", only)
	}
}

func TestTwoSourcesDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	tr := newTracked()
	first := one(t, tr.poll(spot, sighting(noon, time.Time{})))
	tr.poll(other)
	later := one(t, tr.poll(spot, sighting(noon, time.Time{})))
	if diff := cmp.Diff(first, later); diff != "" {
		t.Errorf("another source's none changed the notice (-before +after):\n%s", diff)
	}
	theirs := one(t, tr.poll(other, sighting(noon, time.Time{})))
	if theirs.Source != "test/other" || theirs.FirstSeen.Equal(first.FirstSeen) {
		t.Errorf("the other source's notice is %+v, want one of its own", theirs)
	}
}

func TestADerivedIDTellsMachineAndEventAndNoTime(t *testing.T) {
	t.Parallel()
	id := func(change func(*tracked, *Sighting)) string {
		tr, s := newTracked(), sighting(noon, noon.Add(time.Minute))
		change(tr, &s)
		return one(t, tr.poll(spot, s)).ID
	}
	plain := id(func(*tracked, *Sighting) {})
	same := map[string]func(*tracked, *Sighting){
		"another time":        func(tr *tracked, _ *Sighting) { tr.now = tr.now.Add(time.Hour) },
		"another moment":      func(_ *tracked, s *Sighting) { s.At = s.At.Add(time.Hour) },
		"another server time": func(_ *tracked, s *Sighting) { s.ServerTime = time.Time{} },
		"another raw text":    func(_ *tracked, s *Sighting) { s.Raw = "{}" },
		"another state":       func(_ *tracked, s *Sighting) { s.State = Started },
	}
	for name, change := range same {
		if got := id(change); got != plain {
			t.Errorf("%s makes %q of %q", name, got, plain)
		}
	}
	seen := map[string]string{plain: "nothing"}
	different := map[string]func(*tracked, *Sighting){
		"another node":   func(tr *tracked, _ *Sighting) { tr.Node = "node-2" },
		"another boot":   func(tr *tracked, _ *Sighting) { tr.BootID = "another-boot" },
		"another kind":   func(_ *tracked, s *Sighting) { s.Kind = Maintenance },
		"another action": func(_ *tracked, s *Sighting) { s.Action = Stop },
		"shifted names":  func(tr *tracked, _ *Sighting) { tr.Node, tr.BootID = "node-1this", "-boot" },
		"the cloud's id": func(_ *tracked, s *Sighting) { s.ID = "native" },
	}
	for name, change := range different {
		got := id(change)
		if earlier, taken := seen[got]; taken {
			t.Errorf("%s and %s make the same id %q", name, earlier, got)
		}
		seen[got] = name
	}
	if seen["native"] != "the cloud's id" {
		t.Error("the cloud's own id is not kept")
	}
}

// Whatever a cloud says, a notice comes of it, with a deadline ahead that is not
// beyond what the cloud promised at most, or what is assumed without a promise.
func TestNoSightingIsTooOddForANotice(t *testing.T) {
	t.Parallel()
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // a test that fails must fail again
	moment := func() time.Time {
		switch random.IntN(4) {
		case 0:
			return time.Time{}
		case 1:
			return time.Unix(random.Int64()-math.MaxInt64/2, 0)
		default:
			return noon.Add(time.Duration(random.Int64N(int64(time.Hour))) - 30*time.Minute)
		}
	}
	tr := newTracked()
	for range 20_000 {
		var sightings []Sighting
		for range random.IntN(3) {
			sightings = append(sightings, Sighting{
				ID: []string{"", "a", "b"}[random.IntN(3)], At: moment(), ServerTime: moment(),
				Nominal: time.Duration(random.Int64N(int64(5*time.Minute))) - time.Minute,
			})
		}
		notices := tr.poll([]Source{spot, other}[random.IntN(2)], sightings...)
		if len(notices) != len(sightings) {
			t.Fatalf("seed %d: %d notices of %d sightings", seed, len(notices), len(sightings))
		}
		for i, notice := range notices {
			s := sightings[i]
			if notice.ID == "" || notice.FirstSeen.After(tr.now) {
				t.Fatalf("seed %d: %+v makes %+v", seed, s, notice)
			}
			if !notice.FirstSeen.Equal(tr.now) {
				continue // its deadline may be that of an earlier poll
			}
			if left := notice.Deadline.Sub(tr.now); left <= 0 || left > max(s.Nominal, blindDeadline) {
				t.Fatalf("seed %d: %+v has its deadline in %v", seed, s, left)
			}
		}
	}
}
