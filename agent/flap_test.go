package agent

import (
	"context"
	"runtime/pprof"
	"testing"
	"time"
)

// week is how long sources flap, in virtual time, after an hour in which all is well.
const week = 7 * 24 * time.Hour

// A source fails for seconds and for minutes, with errors, silence and replies in which a
// notice is missing, a few thousand times in a week; between and in that its cloud gives
// some two hundred notices. Each that was told is acted on once and undone once, no pod is
// told twice, nothing that was not announced is done, and nothing is left running.
func TestAWeekOfFlappingMissesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	for cloud, sources := range clouds() {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			play(t, nil, func(s *scene) {
				w := newWorld(s, sources)
				pprof.Do(s.Context(), pprof.Labels(worldLabel, cloud), func(context.Context) { w.begin() }) //nolint:contextcheck // an agent outlives it
				w.at(time.Hour - time.Minute)
				before := w.goroutines(cloud)
				for i, e := range w.episodes {
					w.at(e.begin - time.Minute)
					w.isAsBefore(i)
					w.bindPods(i)
				}
				w.at(week + 2*time.Hour)
				w.isAsBefore(len(w.episodes))
				if now := w.goroutines(cloud); before == 0 || now > before {
					s.Errorf("%d goroutines run after the week, and %d before", now, before)
				}
				if failing := s.agent.Health.Failing(time.Now()); len(failing) > 0 {
					s.Errorf("after the week %v fail", failing)
				}
				w.judge()
			})
		})
	}
}

// clouds are the sources of each provider, as they are.
func clouds() map[string][]*flapper {
	spot := Sighting{Kind: SpotInterruption, Action: Terminate, State: Scheduled, Nominal: 2 * time.Minute}
	of := func(s Sighting, change func(*Sighting)) Sighting {
		change(&s)
		return s
	}
	maintenance := Sighting{Kind: Maintenance, Action: Reboot, State: Scheduled, AtKind: Earliest, Nominal: 60 * 24 * time.Hour}
	second := Pace{Every: time.Second, Timeout: time.Second, BlindAfter: 10 * time.Second}
	every := func(d time.Duration) Pace { return Pace{Every: d, Timeout: time.Second, BlindAfter: 4 * d} }
	held := Pace{Every: 200 * time.Millisecond, Timeout: 8 * time.Second, BlindAfter: 10 * time.Second}
	const hold = 5 * time.Second
	return map[string][]*flapper{
		"AWS": {
			{provider: "aws", name: "spot", pace: second, habits: []habit{
				{fate: emptied, says: spot, lead: 2 * time.Minute, lasts: 4 * time.Minute, flaky: 2 * time.Minute},
				{fate: emptied, says: of(spot, func(s *Sighting) { s.Action = Stop }), lead: 90 * time.Second, lasts: 2 * time.Minute, flaky: 90 * time.Second},
			}},
			{provider: "aws", name: "rebalance", pace: every(15 * time.Second), habits: []habit{
				{fate: advised, says: Sighting{Kind: RebalanceAdvice, State: Advisory}, lasts: 2 * time.Hour},
			}},
			{provider: "aws", name: "maintenance", pace: every(time.Minute), habits: []habit{
				{fate: planned, says: maintenance, lead: 3 * time.Hour, lasts: 5 * time.Minute, native: true},
			}},
			{provider: "aws", name: "lifecycle", pace: every(5 * time.Second), habits: []habit{
				{fate: emptied, says: Sighting{Kind: ScaleIn, Action: Terminate, State: Started, Nominal: 15 * time.Minute}, lasts: 12 * time.Minute, flaky: 4 * time.Minute},
			}},
		},
		"Google Cloud": {
			{provider: "gcp", name: "preempted", pace: held, hold: hold, habits: []habit{{
				fate: emptied, lead: 30 * time.Second, lasts: time.Minute, flaky: 30 * time.Second,
				says: of(spot, func(s *Sighting) { s.State, s.AtKind, s.Nominal = Started, Estimated, 30*time.Second }),
			}}},
			{provider: "gcp", name: "maintenance-event", pace: held, hold: hold, habits: []habit{
				{fate: emptied, lead: time.Minute, lasts: 3 * time.Minute, flaky: time.Minute, says: of(maintenance, func(s *Sighting) {
					s.Action, s.AtKind, s.Nominal = Terminate, Estimated, time.Minute
				})},
				{fate: noted, lead: time.Minute, lasts: 10 * time.Minute, says: of(maintenance, func(s *Sighting) {
					s.Action, s.AtKind, s.Nominal = Migrate, Estimated, time.Minute
				})},
			}},
			{provider: "gcp", name: "upcoming-maintenance", pace: every(30 * time.Second), habits: []habit{
				{fate: planned, lead: 6 * time.Hour, lasts: 5 * time.Minute, says: of(maintenance, func(s *Sighting) { s.Action = Terminate })},
			}},
		},
		"Azure": {
			{provider: "azure", name: "scheduled-events", pace: Pace{Every: time.Second, Timeout: 2 * time.Second, BlindAfter: 10 * time.Second}, habits: []habit{
				{fate: emptied, lead: 30 * time.Second, lasts: time.Minute, flaky: 25 * time.Second, native: true, says: of(spot, func(s *Sighting) {
					s.AtKind, s.Nominal = Earliest, 10*time.Second
				})},
				{fate: planned, lead: 15 * time.Minute, lasts: 2 * time.Minute, native: true, says: maintenance},
				{fate: noted, lead: 15 * time.Minute, lasts: 15 * time.Minute, native: true, says: of(maintenance, func(s *Sighting) {
					s.Action, s.Lasts = Freeze, 5*time.Second
				})},
			}},
		},
		"Alibaba Cloud": {
			{provider: "alibaba", name: "spot", pace: Pace{Every: 5 * time.Second, Timeout: time.Second, BlindAfter: 10 * time.Second}, habits: []habit{
				{fate: emptied, says: of(spot, func(s *Sighting) { s.Nominal = 5 * time.Minute }), lead: 5 * time.Minute, lasts: 8 * time.Minute, flaky: 5 * time.Minute},
			}},
		},
		"Tencent Cloud": {
			{provider: "tencent", name: "spot", pace: Pace{Every: 2 * time.Second, Timeout: time.Second, BlindAfter: 10 * time.Second}, habits: []habit{
				{fate: emptied, says: spot, lead: 2 * time.Minute, lasts: 4 * time.Minute, flaky: 2 * time.Minute},
			}},
		},
	}
}
