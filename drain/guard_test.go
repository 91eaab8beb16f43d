package drain

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// whole and atOnce spread tries over all of a window, and over nothing.
func whole(over time.Duration) time.Duration { return over }

func atOnce(time.Duration) time.Duration { return 0 }

// allowing is a budget of the pods of "web" that its controller has counted.
func allowing(n int, with ...func(*policyv1.PodDisruptionBudget)) *policyv1.PodDisruptionBudget {
	pdb := newPDB("web", n)
	for _, apply := range with {
		apply(pdb)
	}
	return pdb
}

func stale(pdb *policyv1.PodDisruptionBudget) { pdb.Generation = pdb.Status.ObservedGeneration + 1 }

// shortOf is a budget one of whose pods is not healthy.
func shortOf(pdb *policyv1.PodDisruptionBudget) {
	pdb.Status.ExpectedPods, pdb.Status.CurrentHealthy = 10, 9
}

// letGo is a budget that has just let these pods go.
func letGo(names ...string) func(*policyv1.PodDisruptionBudget) {
	return func(pdb *policyv1.PodDisruptionBudget) {
		pdb.Status.DisruptedPods = map[string]metav1.Time{}
		for _, name := range names {
			pdb.Status.DisruptedPods[name] = metav1.NewTime(noon)
		}
	}
}

func roomy(g *guard, now time.Time) bool {
	room, _ := g.room(now)
	return room
}

// reply is how one call of a guard ends.
type reply struct {
	verdict Verdict
	took    time.Duration
}

// calls makes one call after another, all at noon.
func (g *guard) calls(spread func(time.Duration) time.Duration, replies ...reply) {
	for _, r := range replies {
		g.begin("p", noon)
		g.end("p", r.verdict, r.took, noon, spread)
	}
}

func times(n int, r reply) []reply {
	replies := make([]reply, n)
	for i := range replies {
		replies[i] = r
	}
	return replies
}

func TestCallsOfOneBudgetAreLimited(t *testing.T) {
	t.Parallel()
	const fast = 20 * time.Millisecond
	passed, slow := reply{Accepted, fast}, reply{Accepted, slowReply}
	conflict, refused := reply{BudgetContended, fast}, reply{BudgetClosed, fast}
	cases := map[string]struct {
		replies []reply
		limit   int
	}{
		"two at a time at first":                        {nil, 2},
		"no more before a round has passed":             {times(1, passed), 2},
		"one more after a round":                        {times(2, passed), 3},
		"one more after each round":                     {times(2+3+4, passed), 5},
		"ten at the most":                               {times(1000, passed), 10},
		"half after a conflict":                         {append(times(1000, passed), conflict), 5},
		"as many after a slow reply, where it is alone": {append(times(1000, passed), slow), 10},
		"as many after a slow refusal of its own":       {append(times(1000, passed), reply{BudgetClosed, slowReply}), 10},
		"never less than one":                           {times(9, conflict), 1},
		"two again after one that passed":               {append(times(9, conflict), passed), 2},
		"a round begins anew after a slow reply":        {[]reply{passed, slow, passed}, 2},
		"as many after a refusal, which says no such":   {append(times(1000, passed), refused), 10},
		"as many after a reply that is of other things": {append(times(1000, passed), reply{Overloaded, fast}), 10},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuard(allowing(5000), noon, atOnce)
			g.calls(atOnce, c.replies...)
			if g.limit != c.limit {
				t.Errorf("%d at a time, want %d", g.limit, c.limit)
			}
		})
	}
}

func TestASlowReplyHalvesTheCallsOfABudgetThatOthersUse(t *testing.T) {
	t.Parallel()
	g := newGuard(allowing(5000), noon, atOnce)
	g.calls(atOnce, times(1000, reply{Accepted, 20 * time.Millisecond})...)
	g.learn(allowing(4000, letGo("not-ours", "nor-this", "nor-that")), noon, atOnce)
	g.calls(atOnce, reply{Accepted, slowReply})
	if g.limit != mostAtOnce/2 {
		t.Errorf("%d at a time, want %d", g.limit, mostAtOnce/2)
	}
}

// All calls begin at noon, and none is answered.
func TestACallThatSleepsMakesRoomForAnother(t *testing.T) {
	t.Parallel()
	many := func(pdb *policyv1.PodDisruptionBudget) { pdb.Status.DisruptionsAllowed = 100 }
	cases := map[string]struct {
		pdb      *policyv1.PodDisruptionBudget
		underWay int
		after    time.Duration
		room     bool
		again    time.Duration
	}{
		"not before it sleeps":                   {allowing(100), 2, asleep - 1, false, asleep},
		"when it sleeps":                         {allowing(100), 2, asleep, true, idle + asleep},
		"not where others use the budget":        {allowing(0, many, shortOf), 2, asleep, false, idle + asleep},
		"not past ten":                           {allowing(100), mostAtOnce, asleep, false, idle + asleep},
		"not past what the budget allows":        {allowing(2), 2, asleep, false, idle + asleep},
		"not while its controller is behind":     {allowing(100, stale), 1, asleep, false, idle + asleep},
		"not while a probe of a closed is asked": {allowing(0), 1, asleep, false, idle + asleep},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuard(c.pdb, noon, atOnce)
			for i := range c.underWay {
				g.begin(fmt.Sprint("p", i), noon)
			}
			room, again := g.room(noon.Add(c.after))
			if room != c.room || !again.Equal(noon.Add(c.again)) {
				t.Errorf("room %t, again after %v, want %t and %v", room, again.Sub(noon), c.room, c.again)
			}
		})
	}
}

func TestABudgetTakesNoMoreCallsThanItMayGrant(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		pdb  *policyv1.PodDisruptionBudget
		want int
	}{
		"as many as its limit where it is open":     {allowing(100), 2},
		"one where it allows one":                   {allowing(1), 1},
		"one, the probe, where it is closed":        {allowing(0), 1},
		"one where its controller is behind":        {allowing(100, stale), 1},
		"one where it allows none and is behind":    {allowing(0, stale), 1},
		"one where it allows less than none at all": {allowing(-1), 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, n := newGuard(c.pdb, noon, atOnce), 0
			for ; roomy(g, noon); n++ {
				g.begin(fmt.Sprint("p", n), noon)
			}
			if n != c.want {
				t.Errorf("took %d calls at a time, want %d", n, c.want)
			}
			g.end("p0", Overloaded, 0, noon, atOnce)
			if !roomy(g, noon) {
				t.Error("no room when one has ended")
			}
		})
	}
}

// step is something that a guard hears of, at a moment after noon.
type step struct {
	after time.Duration
	// shown is what the watch shows, or asked the pod of a call and verdict its
	// reply; a call without a reply is under way.
	shown   *policyv1.PodDisruptionBudget
	asked   string
	verdict Verdict
}

func (g *guard) live(steps []step, spread func(time.Duration) time.Duration) {
	for _, s := range steps {
		now := noon.Add(s.after)
		if s.shown != nil {
			g.learn(s.shown, now, spread)
			continue
		}
		if _, underWay := g.asked[s.asked]; !underWay {
			g.begin(s.asked, now)
		}
		if s.verdict != "" {
			g.end(s.asked, s.verdict, 0, now, spread)
		}
	}
}

func TestABudgetIsAskedWhenACallMayPass(t *testing.T) {
	t.Parallel()
	const s, ms = time.Second, time.Millisecond
	refused := func(after time.Duration, pod string) step {
		return step{after: after, asked: pod, verdict: BudgetClosed}
	}
	shows := func(after time.Duration, pdb *policyv1.PodDisruptionBudget) step {
		return step{after: after, shown: pdb}
	}
	cases := map[string]struct {
		first *policyv1.PodDisruptionBudget
		steps []step
		// wait is how long after the last step the next call may come; windows
		// count in full.
		wait time.Duration
	}{
		"at once where it is open":                             {allowing(5), nil, 0},
		"at once where its controller is behind":               {allowing(0, stale), nil, 0},
		"after two seconds of silence where it is closed":      {allowing(0), nil, 2 * s},
		"after two more when it is shown closed":               {allowing(0), []step{shows(1500*ms, allowing(0))}, 2 * s},
		"after four seconds when it was probed":                {allowing(0), []step{refused(2*s, "a")}, 4 * s},
		"after eight when it was probed again":                 {allowing(0), []step{refused(2*s, "a"), refused(6*s, "b")}, 8 * s},
		"after a window when it refused one":                   {allowing(5), []step{refused(0, "a"), shows(100*ms, allowing(5))}, s},
		"after twice of it when it refused two":                {allowing(5), []step{refused(0, "a"), refused(0, "b"), shows(0, allowing(5))}, 2 * s},
		"after a window when writes got in each other's way":   {allowing(5), []step{{asked: "a", verdict: BudgetContended}}, s},
		"at once when it opens and there is no sign of others": {allowing(0), []step{shows(s, allowing(1))}, 0},
		"after a window where pods were missing at the start":  {allowing(5, shortOf), nil, s},
		"at once where pods are missing since one was asked":   {allowing(5), []step{{asked: "a", verdict: Accepted}, shows(s, allowing(4, shortOf))}, 0},
		"after a window when it lets go of another's pod":      {allowing(5), []step{shows(300*ms, allowing(4, letGo("other")))}, s},
		"after the same window when it goes on so":             {allowing(5), []step{shows(0, allowing(4, letGo("x"))), shows(s/2, allowing(3, letGo("x", "y")))}, s / 2},
		"at once when it lets go of our own pod":               {allowing(5), []step{{asked: "a"}, shows(300*ms, allowing(4, letGo("a")))}, 0},
		"after half of the window when one has passed":         {allowing(0, shortOf), []step{{after: s, asked: "a", verdict: Accepted}, shows(3*s, allowing(1))}, s / 2},
		"after sixteen seconds at the most": {
			allowing(0), []step{refused(0, "a"), refused(s, "b"), refused(2*s, "c"), refused(3*s, "d"), refused(4*s, "e")}, 16 * s,
		},
		"after two seconds again when one has passed": {
			allowing(0), []step{refused(0, "a"), refused(s, "b"), shows(2*s, allowing(1)), {after: 4 * s, asked: "c", verdict: Accepted}}, 2 * s,
		},
		"after four windows at the most": {
			allowing(5), []step{refused(0, "a"), refused(0, "b"), refused(0, "c"), refused(0, "d"), shows(0, allowing(5))}, 4 * s,
		},
		"at once when enough have passed": {allowing(5, shortOf), []step{
			{after: s, asked: "a", verdict: Accepted}, {after: s, asked: "b", verdict: Accepted}, shows(3*s, allowing(0)), shows(4*s, allowing(1)),
		}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuard(c.first, noon, whole)
			g.live(c.steps, whole)
			now := noon
			if n := len(c.steps); n > 0 {
				now = now.Add(c.steps[n-1].after)
			}
			if wait := max(0, g.next().Sub(now)); wait != c.wait {
				t.Errorf("next call after %v, want %v", wait, c.wait)
			}
		})
	}
}

// The watch is behind the replies, now and then before them.
func TestADrainKeepsBooksOfWhatItHasTaken(t *testing.T) {
	t.Parallel()
	passed := func(pod string) step { return step{asked: pod, verdict: Accepted} }
	shows := func(after time.Duration, pdb *policyv1.PodDisruptionBudget) step {
		return step{after: after, shown: pdb}
	}
	cases := map[string]struct {
		steps   []step
		allowed int32
	}{
		"what passed counts before it is shown":     {[]step{passed("a"), passed("b")}, 3},
		"older news gives nothing back":             {[]step{passed("a"), passed("b"), shows(0, allowing(4, letGo("a")))}, 3},
		"its own news counts once":                  {[]step{passed("a"), shows(0, allowing(4, letGo("a")))}, 4},
		"news before the reply count once":          {[]step{{asked: "a"}, shows(0, allowing(4, letGo("a"))), passed("a")}, 4},
		"others count as they are shown":            {[]step{passed("a"), shows(0, allowing(2, letGo("a", "x", "y")))}, 2},
		"what is never shown is forgotten":          {[]step{passed("a"), shows(2*time.Second, allowing(5))}, 5},
		"a refusal says that there is none":         {[]step{{asked: "a", verdict: BudgetClosed}}, 0},
		"a refusal is forgotten for what is shown":  {[]step{{asked: "a", verdict: BudgetClosed}, shows(0, allowing(2))}, 2},
		"a call that failed otherwise took nothing": {[]step{{asked: "a", verdict: Overloaded}}, 5},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuard(allowing(5), noon, atOnce)
			g.live(c.steps, atOnce)
			if g.allowed != c.allowed {
				t.Errorf("%d allowed, want %d", g.allowed, c.allowed)
			}
		})
	}
}

func TestABudgetCoversThePodsOfItsNewestSelector(t *testing.T) {
	t.Parallel()
	web, db := newPod("web-0", label("app", "web")), newPod("db-0", label("app", "db"))
	everything := func(pdb *policyv1.PodDisruptionBudget) { pdb.Spec.Selector = &metav1.LabelSelector{} }
	nothing := func(pdb *policyv1.PodDisruptionBudget) { pdb.Spec.Selector = nil }
	unreadable := func(pdb *policyv1.PodDisruptionBudget) {
		pdb.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Near"}}}
	}
	cases := map[string]struct {
		change     func(*policyv1.PodDisruptionBudget)
		generation int64
		moved      bool
		covered    []string
	}{
		"its status alone moves nothing":  {func(*policyv1.PodDisruptionBudget) {}, 1, false, []string{"web-0"}},
		"the same form is not read again": {everything, 1, false, []string{"web-0"}},
		"a selector that widens":          {everything, 2, true, []string{"web-0", "db-0"}},
		"a selector that is taken away":   {nothing, 2, true, nil},
		"a selector that cannot be read":  {unreadable, 2, true, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuard(allowing(1), noon, atOnce)
			pdb := allowing(1, c.change)
			pdb.Generation = c.generation
			if moved := g.learn(pdb, noon, atOnce); moved != c.moved {
				t.Errorf("moved is %v, want %v", moved, c.moved)
			}
			var covered []string
			for _, pod := range []*corev1.Pod{web, db, newPod("away-0", label("app", "web"), namespace("away"))} {
				if g.covers(pod) {
					covered = append(covered, pod.Name)
				}
			}
			if diff := cmp.Diff(c.covered, covered); diff != "" {
				t.Errorf("covered (-want +got):\n%s", diff)
			}
		})
	}
}
