package main

import (
	"strings"
	"testing"
)

func TestABoundIsKeptMissedOrNotJudged(t *testing.T) {
	t.Parallel()
	everything := func(string, string) bool { return true }
	without := func(absent string) func(string, string) bool {
		return func(_, contender string) bool { return contender != absent }
	}
	figures := func(ours, theirs float64) results {
		return results{"a": {ebbtide: {figureLost: ours}, kubectlQPS5: {figureLost: theirs}}}
	}
	atMost := bound{scenario: "a", figure: figureLost, limit: 3}
	atLeast := bound{scenario: "a", figure: figureLost, limit: 3, atLeast: true}
	against := bound{scenario: "a", figure: figureLost, limit: 0.1, against: kubectlQPS5}
	theirs := bound{scenario: "a", figure: figureLost, of: kubectlQPS5}
	cases := map[string]struct {
		bound   bound
		results results
		asked   func(string, string) bool
		want    verdict
	}{
		"a figure at its upper limit keeps it":                    {atMost, figures(3, 0), everything, kept},
		"a figure above its upper limit misses it":                {atMost, figures(3.001, 0), everything, missed},
		"a figure at its lower limit keeps it":                    {atLeast, figures(3, 0), everything, kept},
		"a figure below its lower limit misses it":                {atLeast, figures(2.999, 0), everything, missed},
		"a tenth of the other's keeps a tenfold bound":            {against, figures(2, 20), everything, kept},
		"more than a tenth of the other's misses a tenfold one":   {against, figures(2.1, 20), everything, missed},
		"a bound against somebody who was not asked stays open":   {against, figures(2, 20), without(kubectlQPS5), open},
		"a bound against somebody without the figure is missed":   {against, results{"a": {ebbtide: {figureLost: 2}}}, everything, missed},
		"a figure that is not there misses its bound":             {atMost, results{}, everything, missed},
		"a bound of a scenario that was not asked for is open":    {atMost, results{}, func(string, string) bool { return false }, open},
		"a rival's figure within its limit keeps it":              {theirs, figures(9, 0), everything, kept},
		"a rival's figure beyond its limit misses it":             {theirs, figures(0, 9), everything, missed},
		"a bound of a rival that was not asked for stays open":    {theirs, figures(0, 9), without(kubectlQPS5), open},
		"a bound of a rival does not need Ebbtide to be measured": {theirs, figures(0, 0), without(ebbtide), kept},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, limit := c.bound.judge(c.results, c.asked); got != c.want {
				t.Errorf("%s with limit %v, want %s", got, limit, c.want)
			}
		})
	}
}

func TestAMissedBoundIsToldAndCounts(t *testing.T) {
	t.Parallel()
	r := results{"g": {ebbtide: {figureAPIRequests: 0, figureResident: 29.5, figureAnonymous: 9, figureCPU: 1, figurePolls: 1.1, figurePollsPeak: 1.2}}}
	asked := func(scenario, _ string) bool { return scenario == "g" }
	var told strings.Builder
	if printVerdicts(&told, r, asked) {
		t.Error("29.5 MiB of 28 passed")
	}
	if want := "MISSED      g       resident_mib of ebbtide: 29.5, has to be ≤ 28\n"; !strings.Contains(told.String(), want) {
		t.Errorf("told %q, want %q in it", told.String(), want)
	}
	if n := strings.Count(told.String(), "kept"); n != 5 {
		t.Errorf("%d bounds are kept, want 5: %s", n, told.String())
	}
	r["g"][ebbtide][figureResident] = 27
	if !printVerdicts(&told, r, asked) {
		t.Error("27 MiB of 28 did not pass")
	}
}
