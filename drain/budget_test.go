package drain

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestTheReserveGrowsWithTheNotice(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ notice, reserve time.Duration }{
		"two minutes keep five seconds":               {2 * time.Minute, 5 * time.Second},
		"one minute still keeps five seconds":         {time.Minute, 5 * time.Second},
		"a moment under a minute keeps three":         {time.Minute - time.Nanosecond, 3 * time.Second},
		"twenty seconds still keep three":             {20 * time.Second, 3 * time.Second},
		"a moment under twenty seconds keeps one":     {20*time.Second - time.Nanosecond, time.Second},
		"no time at all keeps one":                    {0, time.Second},
		"a deadline that has passed keeps one, too":   {-time.Minute, time.Second},
		"a notice of an hour keeps no more than five": {time.Hour, 5 * time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			budget := NewBudget(noon.Add(c.notice), noon)
			if budget.Reserve != c.reserve {
				t.Errorf("reserve of a notice of %v is %v, want %v", c.notice, budget.Reserve, c.reserve)
			}
			if left, want := budget.Left(noon), c.notice-c.reserve; left != want {
				t.Errorf("%v left for pods, want %v", left, want)
			}
		})
	}
}

func TestAPodGetsTheGraceThatTheMachineHas(t *testing.T) {
	t.Parallel()
	const second = time.Second
	cases := map[string]struct{ own, detach, left, want time.Duration }{
		"all of its own when there is time":                                {own: 30 * second, left: 60 * second, want: 30 * second},
		"all of its own when it just fits":                                 {own: 30 * second, left: 30 * second, want: 30 * second},
		"what is left when that is less":                                   {own: 30 * second, left: 12 * second, want: 12 * second},
		"the nearest whole second, so that being late by a moment is free": {own: 30 * second, left: 30*second - 500*time.Millisecond, want: 30 * second},
		"a second less when the call is later than that":                   {own: 30 * second, left: 30*second - 501*time.Millisecond, want: 29 * second},
		"its own less than two seconds, and not more":                      {own: second, left: 60 * second, want: second},
		"its own second even when nothing is left":                         {own: second, left: -60 * second, want: second},
		"two seconds when less is left":                                    {own: 30 * second, left: second, want: 2 * second},
		"two seconds when the time is long over":                           {own: 30 * second, left: -time.Hour, want: 2 * second},
		"two seconds of its own two":                                       {own: 2 * second, left: 0, want: 2 * second},
		"less where volumes have to come off the machine":                  {own: 30 * second, detach: 15 * second, left: 40 * second, want: 25 * second},
		"all of its own where volumes have their time":                     {own: 30 * second, detach: 15 * second, left: 45 * second, want: 30 * second},
		"half of what is left where the volumes would take all":            {own: 30 * second, detach: 15 * second, left: 10 * second, want: 5 * second},
		"two seconds where half of what is left is less":                   {own: 30 * second, detach: 15 * second, left: 3 * second, want: 2 * second},
		"what is left of two minutes to a pod of an hour":                  {own: time.Hour, left: 115 * second, want: 115 * second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			budget := Budget{Deadline: noon.Add(c.left + 5*second), Reserve: 5 * second}
			if got := budget.Grace(c.own, c.detach, noon); got != c.want {
				t.Errorf("grace is %v, want %v", got, c.want)
			}
		})
	}
}

func TestABudgetIsHonouredUntilTheLastMomentThatLeavesTheWholeGrace(t *testing.T) {
	t.Parallel()
	budget := NewBudget(noon.Add(2*time.Minute), noon)
	cases := map[string]struct{ own, detach, after time.Duration }{
		"a pod of thirty seconds":               {own: 30 * time.Second, after: 85 * time.Second},
		"a pod of one second":                   {own: time.Second, after: 114 * time.Second},
		"a pod with volumes":                    {own: 30 * time.Second, detach: 15 * time.Second, after: 70 * time.Second},
		"a pod with just the time that is":      {own: 115 * time.Second, after: 0},
		"a pod with more than the time that is": {own: 5 * time.Minute, after: -185 * time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := budget.ForceAt(c.own, c.detach)
			if got := at.Sub(noon); got != c.after {
				t.Errorf("forced after %v, want %v", got, c.after)
			}
			if c.after >= 0 && budget.Grace(c.own, c.detach, at) != c.own {
				t.Errorf("a pod forced at its latest moment gets %v of its %v",
					budget.Grace(c.own, c.detach, at), c.own)
			}
		})
	}
}

func TestTheDrainGivesUpWithinTheReserve(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ notice, before time.Duration }{
		"a long notice":  {2 * time.Minute, 1250 * time.Millisecond},
		"a short notice": {30 * time.Second, 750 * time.Millisecond},
		"hardly any":     {5 * time.Second, 250 * time.Millisecond},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			budget := NewBudget(noon.Add(c.notice), noon)
			if got := budget.Deadline.Sub(budget.GiveUpAt()); got != c.before {
				t.Errorf("gives up %v before the deadline, want %v", got, c.before)
			}
		})
	}
}

func TestASecondNoticeTightensAndNeverLoosens(t *testing.T) {
	t.Parallel()
	first := NewBudget(noon.Add(2*time.Minute), noon)
	later := noon.Add(10 * time.Second)
	cases := map[string]struct {
		deadline time.Time
		want     Budget
	}{
		"a later deadline changes nothing":           {noon.Add(time.Hour), first},
		"the same deadline changes nothing":          {first.Deadline, first},
		"an earlier one counts":                      {noon.Add(90 * time.Second), Budget{noon.Add(90 * time.Second), 5 * time.Second}},
		"the reserve is that of the time left to it": {noon.Add(40 * time.Second), Budget{noon.Add(40 * time.Second), 3 * time.Second}},
		"one in the past counts, too":                {noon, Budget{noon, time.Second}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := first.Tighten(c.deadline, later); got != c.want {
				t.Errorf("tightened to %+v, want %+v", got, c.want)
			}
		})
	}
}

// The rules of the time budget, on ten thousand budgets and pods at random.
func TestNoPodIsEverGivenNoGraceOrMoreThanItsOwn(t *testing.T) {
	t.Parallel()
	const seed = 4
	const rounded = time.Second / 2             // a grace may reach this far into the reserve
	random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // the same cases each time, so that a failure can be repeated
	upTo := func(limit time.Duration) time.Duration { return time.Duration(random.Int64N(int64(limit))) }
	for range 10_000 {
		budget := NewBudget(noon.Add(upTo(3*time.Minute)), noon)
		own := upTo(200*time.Second).Truncate(time.Second) + time.Second
		detach := upTo(20 * time.Second).Truncate(time.Second)
		now := noon.Add(upTo(4 * time.Minute))
		given, forceAt := budget.Grace(own, detach, now), budget.ForceAt(own, detach)
		kept := min(detach, budget.Left(now)/2)
		switch {
		case given < time.Second, given > own, given%time.Second != 0:
			t.Errorf("seed %d: %+v gives %v to a pod of %v at %v", seed, budget, given, own, now)
		case !now.After(forceAt) && given != own:
			t.Errorf("seed %d: %+v gives %v to a pod of %v at %v, before its latest moment", seed, budget, given, own, now)
		case given > leastGrace && now.Add(given+kept+budget.Reserve-rounded).After(budget.Deadline):
			t.Errorf("seed %d: %+v gives %v to a pod of %v at %v, which ends deep in the reserve", seed, budget, given, own, now)
		}
		deadline, later := noon.Add(upTo(4*time.Minute)), noon.Add(upTo(time.Minute))
		tight := budget.Tighten(deadline, later)
		if tight.Deadline.After(budget.Deadline) || tight.Deadline.After(deadline) && tight != budget {
			t.Errorf("seed %d: %+v was loosened to %+v by a notice of %v", seed, budget, tight, deadline)
		}
		if tight.Tighten(deadline, later) != tight {
			t.Errorf("seed %d: the same notice tightened %+v twice", seed, budget)
		}
	}
}
