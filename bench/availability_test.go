package main

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// life is a pod that serves from one moment until another, both in seconds from the
// notice.
func life(ready, until float64, how lab.End) lab.PodRecord {
	r := lab.PodRecord{ReadyAt: at(ready), End: how}
	switch how {
	case lab.Exited, lab.Killed:
		r.ToldAt, r.EndedAt = at(until), at(until+5) // It serves nobody new meanwhile.
	case lab.Lost, lab.Completed:
		r.EndedAt = at(until)
	case lab.Running:
	}
	return r
}

func TestUnavailabilityIsTheIntegralOfWhatLacks(t *testing.T) {
	t.Parallel()
	const forever = 0
	cases := map[string]struct {
		pods    []lab.PodRecord
		desired int
		missing float64
		fewest  int
	}{
		"a replacement that is ready first leaves no gap": {
			[]lab.PodRecord{life(-9, 8, lab.Exited), life(6, forever, lab.Running)}, 1, 0, 1,
		},
		"a replacement that is ready later leaves one": {
			[]lab.PodRecord{life(-9, 8, lab.Exited), life(10.5, forever, lab.Running)}, 1, 2.5, 0,
		},
		"a pod that is lost serves until its machine dies": {
			[]lab.PodRecord{life(-9, 60, lab.Lost)}, 1, 10, 0,
		},
		"pods above what is desired do not count": {
			[]lab.PodRecord{life(-9, 8, lab.Exited), life(-9, forever, lab.Running)}, 1, 0, 1,
		},
		"two that lack count twice": {
			[]lab.PodRecord{life(-9, 60, lab.Lost), life(-9, 65, lab.Lost), life(-9, forever, lab.Running)}, 3, 15, 1,
		},
		"what was before the notice is no part of it": {
			[]lab.PodRecord{life(-90, -50, lab.Exited), life(-9, forever, lab.Running)}, 1, 0, 1,
		},
		"what comes after the last look is no part of it": {
			[]lab.PodRecord{life(-9, 75, lab.Exited)}, 1, 0, 1,
		},
		"a pod that was never ready counts for nothing": {
			[]lab.PodRecord{{EndedAt: at(60), End: lab.Lost}}, 1, 70, 0,
		},
		"nothing desired, nothing missing": {
			[]lab.PodRecord{life(-9, 8, lab.Exited)}, 0, 0, 0,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			missing, fewest := shortfall(c.pods, c.desired, noticed, at(70))
			if want := time.Duration(c.missing * float64(time.Second)); missing != want || fewest != c.fewest {
				t.Errorf("%s are missing and %d were ready at least, want %s and %d", missing, fewest, want, c.fewest)
			}
		})
	}
}

func TestEndpointsAreThoseThatTheAPIShowsOnMachinesThatLive(t *testing.T) {
	t.Parallel()
	sight := func(seconds float64, slice string, ready ...types.UID) endpointSight {
		return endpointSight{at: at(seconds), service: "web", slice: slice, ready: ready}
	}
	old, replacement := lab.PodRecord{UID: "old"}, lab.PodRecord{UID: "new"}
	oldEnds := func(seconds float64) lab.PodRecord { return lab.PodRecord{UID: "old", EndedAt: at(seconds)} }
	cases := map[string]struct {
		records []lab.PodRecord
		sights  []endpointSight
		want    int
		none    bool
	}{
		"one that is replaced before it goes": {
			[]lab.PodRecord{oldEnds(9), replacement},
			[]endpointSight{sight(-5, "a", "old"), sight(3, "a", "old", "new"), sight(6, "a", "new")},
			1, false,
		},
		"one that goes before it is replaced": {
			[]lab.PodRecord{oldEnds(9), replacement},
			[]endpointSight{sight(-5, "a", "old"), sight(6, "a"), sight(8, "a", "new")},
			0, false,
		},
		"one that the API still shows when its machine is dead": {
			[]lab.PodRecord{oldEnds(60)}, []endpointSight{sight(-5, "a", "old")}, 0, false,
		},
		"two slices of one Service add up": {
			[]lab.PodRecord{old, replacement},
			[]endpointSight{sight(-5, "a", "old"), sight(-5, "b", "new")},
			2, false,
		},
		"none before the notice is no matter": {
			[]lab.PodRecord{old}, []endpointSight{sight(-5, "a"), sight(-4, "a", "old")}, 1, false,
		},
		"no Service": {[]lab.PodRecord{old}, nil, 0, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := evidence{noticed: noticed, observed: at(70), records: c.records, endpoints: c.sights}
			fewest, has := e.leastEndpoints()
			if fewest != c.want || has == c.none {
				t.Errorf("%d, %t; want %d, %t", fewest, has, c.want, !c.none)
			}
		})
	}
}
