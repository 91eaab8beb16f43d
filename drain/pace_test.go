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
		"very few where other drains are at work":       {64, []func(*pace){went(1000), (*pace).crowded}, 3},
		"no more than it had where others are at work":  {2, []func(*pace){(*pace).crowded}, 2},
		"one more a round where other drains are there": {64, []func(*pace){(*pace).crowded, went(3)}, 4},
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
