package agent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestACourse(t *testing.T) {
	t.Parallel()
	const ahead = 24 * time.Hour
	at := noon.Add
	notice := func(kind Kind, action Action, change ...func(*Notice)) Notice {
		n := Notice{
			Kind: kind, Action: action, State: Scheduled, FirstSeen: noon, Emitted: noon,
			Deadline: at(ahead), DeadlineKind: Earliest,
		}
		for _, f := range change {
			f(&n)
		}
		return n
	}
	without := func(n *Notice) { n.Deadline, n.DeadlineKind = time.Time{}, None }
	started := func(n *Notice) { n.State = Started }
	soon := func(n *Notice) { n.Deadline = at(5 * time.Minute) }
	lasts := func(d time.Duration) func(*Notice) { return func(n *Notice) { n.Lasts = d } }
	advised := func(age time.Duration) func(*Notice) {
		return func(n *Notice) {
			n.State, n.Emitted, n.Deadline, n.DeadlineKind = Advisory, at(-age), at(10*time.Second), Estimated
		}
	}
	with := func(change func(*Rules)) Rules {
		rules := DefaultRules()
		change(&rules)
		return rules
	}
	rules := DefaultRules()
	cases := map[string]struct {
		rules  Rules
		notice Notice
		want   Course
	}{
		"a spot interruption is drained for at once": {
			rules, notice(SpotInterruption, Terminate), Course{DrainNow, noon, at(ahead)},
		},
		"an advice is followed for an hour from its emission": {
			rules, notice(RebalanceAdvice, "", advised(20*time.Minute)), Course{HandOver, noon, at(40 * time.Minute)},
		},
		"an advice may be only reported": {
			with(func(r *Rules) { r.Kinds[RebalanceAdvice] = ReportOnly }),
			notice(RebalanceAdvice, "", advised(0)),
			Course{ReportOnly, noon, at(time.Hour)},
		},
		"an advice may be drained for": {
			with(func(r *Rules) { r.Kinds[RebalanceAdvice] = DrainNow }),
			notice(RebalanceAdvice, "", without),
			Course{DrainNow, noon, at(rules.Lead)},
		},
		"maintenance is drained for ten minutes before its window": {
			rules, notice(Maintenance, Reboot), Course{DrainNow, at(ahead - 10*time.Minute), at(ahead)},
		},
		"maintenance that is near is drained for at once": {
			rules, notice(Maintenance, Reboot, soon), Course{DrainNow, noon, at(5 * time.Minute)},
		},
		"maintenance that has begun is drained for at once": {
			rules, notice(Maintenance, Reboot, started), Course{DrainNow, noon, at(ahead)},
		},
		"maintenance at a moment that nobody knows is cordoned for softly": {
			rules, notice(Maintenance, Reboot, without), Course{CordonSoftly, noon, at(time.Hour)},
		},
		"maintenance may be handed over for until its window": {
			with(func(r *Rules) { r.Kinds[Maintenance] = HandOver }),
			notice(Maintenance, Stop),
			Course{HandOver, noon, at(ahead)},
		},
		"a live migration is only reported": {
			rules, notice(Maintenance, Migrate, soon), Course{ReportOnly, noon, at(5 * time.Minute)},
		},
		"a live migration may be drained for": {
			with(func(r *Rules) { r.Actions[Migrate] = DrainNow }),
			notice(Maintenance, Migrate, soon),
			Course{DrainNow, noon, at(5 * time.Minute)},
		},
		"a short freeze is only reported": {
			rules, notice(Maintenance, Freeze, lasts(5*time.Second)), Course{ReportOnly, noon, at(ahead)},
		},
		"a long freeze is drained for": {
			rules, notice(Maintenance, Freeze, lasts(time.Minute)), Course{DrainNow, at(ahead - 10*time.Minute), at(ahead)},
		},
		"a freeze of unknown length is not short": {
			rules, notice(Maintenance, Freeze), Course{DrainNow, at(ahead - 10*time.Minute), at(ahead)},
		},
		"what no rule names is drained for": {Rules{}, notice("Flood", Terminate), Course{DrainNow, noon, at(ahead)}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, c.rules.Course(c.notice)); diff != "" {
				t.Errorf("course (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOfSeveralNoticesTheStrongestCallsFirstAndOfThoseTheEarliest(t *testing.T) {
	t.Parallel()
	notice := func(id string, kind Kind, ends time.Duration) Notice {
		return Notice{
			ID: id, Kind: kind, State: Scheduled, FirstSeen: noon, Emitted: noon,
			Deadline: noon.Add(ends), DeadlineKind: Exact,
		}
	}
	open := []Notice{
		notice("later maintenance", Maintenance, time.Hour),
		notice("advice", RebalanceAdvice, time.Hour),
		notice("scale-in", ScaleIn, 5*time.Minute),
		notice("spot", SpotInterruption, 2*time.Minute),
		notice("lapsed advice", ClusterDisruption, -time.Second),
	}
	var got []string
	for _, c := range DefaultRules().calls(open, noon) {
		got = append(got, c.notice.ID)
	}
	if diff := cmp.Diff([]string{"spot", "scale-in", "advice"}, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}
