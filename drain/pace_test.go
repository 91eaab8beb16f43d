package drain

import (
	"testing"
	"time"
)

func TestADrainFindsOutHowManyCallsTheAPIServerTakes(t *testing.T) {
	t.Parallel()
	went := func(n int) func(*pace) {
		return func(p *pace) {
			for range n {
				p.went()
			}
		}
	}
	strained := func(began, now time.Duration) func(*pace) {
		return func(p *pace) { p.strained(noon.Add(began), noon.Add(now)) }
	}
	crowded := (*pace).crowded
	const s = time.Second
	cases := map[string]struct {
		most  int
		after []func(*pace)
		want  int
	}{
		"few at first":                                  {64, nil, 8},
		"no more than it may":                           {5, nil, 5},
		"one where it may none":                         {0, nil, 1},
		"twice as many after a round that went well":    {64, []func(*pace){went(8)}, 16},
		"no more than it may, however well it goes":     {64, []func(*pace){went(1000)}, 64},
		"half at a sign of too much":                    {64, []func(*pace){went(1000), strained(0, s)}, 32},
		"a quarter when the next round says so too":     {64, []func(*pace){went(1000), strained(0, s), strained(s, 2*s)}, 16},
		"half when a round says so many times":          {64, []func(*pace){went(1000), strained(0, s), strained(0, 2*s), strained(s-1, 3*s)}, 32},
		"never none":                                    {2, []func(*pace){strained(0, s), strained(s, 2*s), strained(2*s, 3*s)}, 1},
		"one more a round after a sign of too much":     {64, []func(*pace){strained(0, s), went(4)}, 5},
		"no more before the round is over":              {64, []func(*pace){strained(0, s), went(3)}, 4},
		"very few where other drains are at work":       {64, []func(*pace){went(1000), crowded}, 3},
		"no more than it had where others are at work":  {2, []func(*pace){crowded}, 2},
		"one more a round where other drains are there": {64, []func(*pace){crowded, went(3)}, 4},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPace(c.most)
			for _, apply := range c.after {
				apply(&p)
			}
			if p.limit != c.want {
				t.Errorf("%d calls at a time, want %d", p.limit, c.want)
			}
		})
	}
}

func TestADrainHasRoomForACall(t *testing.T) {
	t.Parallel()
	const s = time.Second
	web := newGuard(allowing(100), noon, atOnce)
	cases := map[string]struct {
		budgets           []*guard
		forceAt           time.Duration
		cordoned          bool
		after             time.Duration
		inFlight, guarded int
		want              bool
	}{
		"as many as the pace allows":                          {budgets: []*guard{web}, forceAt: 60 * s, cordoned: true, inFlight: 7, guarded: 7, want: true},
		"no more than the pace allows":                        {budgets: []*guard{web}, forceAt: 60 * s, cordoned: true, inFlight: 8, guarded: 8},
		"one before the node is cordoned":                     {budgets: []*guard{web}, forceAt: 60 * s, want: true},
		"no second one before the node is cordoned":           {budgets: []*guard{web}, forceAt: 60 * s, inFlight: 1, guarded: 1},
		"a second one when the cordon takes too long":         {budgets: []*guard{web}, forceAt: 60 * s, after: uncordonedFor, inFlight: 1, guarded: 1, want: true},
		"for a pod without a budget beside those with one":    {forceAt: 60 * s, cordoned: true, inFlight: 8, guarded: 8, want: true},
		"for a pod without a budget, but not without end":     {forceAt: 60 * s, cordoned: true, inFlight: 16, guarded: 8},
		"for a pod whose latest moment has come, in any case": {budgets: []*guard{web}, inFlight: 100, guarded: 100, want: true},
		"for one of these, but not without end":               {budgets: []*guard{web}, inFlight: 128, guarded: 100},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &run{pace: newPace(64), budgetsKnown: true, hurryAt: noon.Add(uncordonedFor), inFlight: c.inFlight, guarded: c.guarded}
			if c.cordoned {
				r.cordonedAt = noon
			}
			p := newProgress(Move{Action: Evict, GraceSeconds: 30, ForceAt: noon.Add(c.forceAt)})
			p.guards = c.budgets
			if got := r.room(p, noon.Add(c.after)); got != c.want {
				t.Errorf("room: %t, want %t", got, c.want)
			}
		})
	}
}

func TestAReplyShowsWhetherTooManyCallsAreUnderWay(t *testing.T) {
	t.Parallel()
	alone := newGuard(allowing(100), noon, atOnce)
	shared := newGuard(allowing(100, letGo("not-ours")), noon, atOnce)
	const fast, slow = 20 * time.Millisecond, slowReply
	cases := map[string]struct {
		call    sent
		verdict Verdict
		took    time.Duration
		want    bool
	}{
		"not when it is accepted at once":                      {sent{guard: shared}, Accepted, fast, false},
		"when it is slow, of a budget that others use":         {sent{guard: shared}, Accepted, slow, true},
		"not when it is slow, of a budget of this drain alone": {sent{guard: alone}, Accepted, slow, false},
		"not when it is slow without a budget: a long way":     {sent{}, Accepted, slow, false},
		"when it is slow, of a pod whose budget is not known":  {sent{contends: true}, Accepted, slow, true},
		"not when it is slow, of a deletion past a budget":     {sent{contends: true, force: true}, Accepted, slow, false},
		"when the API server says so":                          {sent{}, Overloaded, fast, true},
		"when the API server does not answer":                  {sent{}, Unreachable, slow, true},
		"when twenty tries in the API server were in vain":     {sent{guard: alone}, BudgetContended, slow, true},
		"not when a budget is closed":                          {sent{guard: shared}, BudgetClosed, slow, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.call.at = noon
			if got := c.call.strains(c.verdict, noon.Add(c.took)); got != c.want {
				t.Errorf("too many: %t, want %t", got, c.want)
			}
		})
	}
}

func TestADrainSlowsDownForOthersAndNotForItsOwnRefusals(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		live func(*guard)
		want bool
	}{
		"when a budget lets go a pod of another drain":     {func(g *guard) { g.learn(allowing(9, letGo("theirs")), noon, atOnce) }, true},
		"not when a budget lets go a pod of its own":       {func(g *guard) { g.begin("ours", noon); g.learn(allowing(9, letGo("ours")), noon, atOnce) }, false},
		"not when its own eviction is refused":             {func(g *guard) { g.calls(whole, reply{BudgetClosed, 0}) }, false},
		"not when a pod is unhealthy later on":             {func(g *guard) { g.learn(allowing(0, shortOf), noon, atOnce) }, false},
		"when one was unhealthy before anything was asked": {func(g *guard) { *g = *newGuard(allowing(0, shortOf), noon, atOnce) }, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuard(allowing(10), noon, atOnce)
			c.live(g)
			p := newProgress(Move{Action: Evict})
			p.guards = []*guard{g}
			r := &run{pace: newPace(64), moves: []*progress{p}}
			r.lookAround()
			if got := r.pace.limit == crowdedCalls; got != c.want {
				t.Errorf("slowed down: %t, want %t", got, c.want)
			}
		})
	}
}
