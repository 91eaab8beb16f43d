package main

import (
	"fmt"
	"io"
	"math"
)

// bound is what a figure has to keep. Ebbtide's, unless it names somebody else.
type bound struct {
	scenario, figure string
	// atLeast turns the limit around.
	atLeast bool
	limit   float64
	// against, if set, makes the limit a multiple of the same figure of that contender.
	against string
	// of is whose figure it is; empty means Ebbtide's.
	of string
}

// bounds is what the benchmark has to show.
var bounds = []bound{
	{scenario: "a", figure: figureLastEviction, limit: 1.5},
	{scenario: "a", figure: figureLastEviction, limit: 0.1, against: kubectlQPS5},
	{scenario: "a", figure: figureRequestsPerPod, limit: 1.2},
	// The last eviction says nothing of pods that are never told.
	{scenario: "a", figure: figureToldRatio, limit: 1, atLeast: true},

	{scenario: "b", figure: figureToldRatio, limit: 1, atLeast: true},
	{scenario: "b", figure: figureGraceShort, limit: 0},
	// If kubectl could tell one, the budgets would not be closed.
	{scenario: "b", figure: figureToldRatio, limit: 0, of: kubectlQPS5},
	{scenario: "b", figure: figureToldRatio, limit: 0, of: kubectlQPS100},

	{scenario: "c", figure: figureUnavailable, limit: 0},
	{scenario: "c", figure: figureLeastEndpoints, limit: 1, atLeast: true},
	{scenario: "c", figure: figureToldRatio, limit: 1, atLeast: true},

	{scenario: "d", figure: figureToldRatio, limit: 1, atLeast: true},
	{scenario: "d", figure: figureExitedRatio, limit: 1, atLeast: true},
	{scenario: "d", figure: figureRequestsPerPod, limit: 2.5},
	{scenario: "d", figure: figurePastBudget, limit: 1, against: kubectlQPS5},
	{scenario: "d", figure: figurePastBudget, limit: 1, against: kubectlQPS100},

	{scenario: "d_open", figure: figureToldRatio, limit: 1, atLeast: true},
	{scenario: "d_open", figure: figureLastEviction, limit: 30},
	{scenario: "d_open", figure: figureRequestsPerPod, limit: 1.5},

	{scenario: "e", figure: figureLostThoughFits, limit: 0},
	{scenario: "e", figure: figureGraceShort, limit: 0},

	{scenario: "f", figure: figureP50, limit: 0.6},
	{scenario: "f", figure: figureP99, limit: 1.2},

	{scenario: "f_gcp", figure: figureP50, limit: 0.25},
	{scenario: "f_gcp", figure: figureP99, limit: 0.5},

	{scenario: "f_azure", figure: figureP50, limit: 0.7},
	{scenario: "f_azure", figure: figureP99, limit: 1.3},

	{scenario: "g", figure: figureAPIRequests, limit: 1},
	{scenario: "g", figure: figureResident, limit: 28},
	{scenario: "g", figure: figureAnonymous, limit: 12},
	{scenario: "g", figure: figureCPU, limit: 2},
	{scenario: "g", figure: figurePolls, limit: 1.5},
	{scenario: "g", figure: figurePollsPeak, limit: 1.5},

	{scenario: "g_gcp", figure: figureAPIRequests, limit: 1},
	{scenario: "g_gcp", figure: figureResident, limit: 28},
	{scenario: "g_gcp", figure: figureAnonymous, limit: 12},
	{scenario: "g_gcp", figure: figureCPU, limit: 2},
	// One request a key that is open all the time, and two keys of which that is so. Each
	// is asked anew every five seconds, and looked at once a minute.
	{scenario: "g_gcp", figure: figureOpenPeak, limit: 1},
	{scenario: "g_gcp", figure: figurePolls, limit: 0.6},

	{scenario: "g_azure", figure: figureAPIRequests, limit: 1},
	{scenario: "g_azure", figure: figureResident, limit: 28},
	{scenario: "g_azure", figure: figureAnonymous, limit: 12},
	{scenario: "g_azure", figure: figureCPU, limit: 2},
	{scenario: "g_azure", figure: figurePolls, limit: 1},

	{scenario: "drain", figure: figureRequestsPerPod, limit: 1.3},

	{scenario: "admission", figure: figureAddedP50, limit: 2.5, of: webhook},
	{scenario: "admission", figure: figureAddedP99, limit: 8, of: webhook},
	{scenario: "admission", figure: figureFailedCreates, limit: 0, of: webhook},
	{scenario: "admission", figure: figureFailedCreates, limit: 0, of: admissionPolicy},
	{scenario: "admission", figure: figureFailedCreates, limit: 0, of: neither},
	// What was measured is what it is called: each pod came to be as it should, and the
	// webhook was called for those that it was in force for, and for no others.
	{scenario: "admission", figure: figureMisplaced, limit: 0, of: webhook},
	{scenario: "admission", figure: figureMisplaced, limit: 0, of: admissionPolicy},
	{scenario: "admission", figure: figureMisplaced, limit: 0, of: neither},
	{scenario: "admission", figure: figureCallsPerCreate, limit: 1, atLeast: true, of: webhook},
	{scenario: "admission", figure: figureCallsPerCreate, limit: 0, of: admissionPolicy},
	{scenario: "admission", figure: figureCallsPerCreate, limit: 0, of: neither},

	{scenario: "rotation", figure: figureFailedCreates, limit: 0},
	{scenario: "rotation", figure: figureMisplaced, limit: 0},
	{scenario: "rotation", figure: figureFailedCalls, limit: 0},
	{scenario: "rotation", figure: figureDistrusted, limit: 0},
	// Nothing can fail unless the certificates change, the API server looks at them, and
	// the webhook is called.
	{scenario: "rotation", figure: figureSecondsPerCertificate, limit: 12},
	{scenario: "rotation", figure: figureSecondsPerConnection, limit: 2},
	{scenario: "rotation", figure: figureCallsPerCreate, limit: 1, atLeast: true},
}

// verdict is what became of a bound.
type verdict string

const (
	kept   verdict = "kept"
	missed verdict = "MISSED"
	// open is a bound of something that was not asked for.
	open verdict = "not judged"
)

// judge holds the results to the bound and returns its limit; asked says whether a
// contender was to play a scenario. A figure that should be there and is not is missed.
func (b bound) judge(r results, asked func(scenario, contender string) bool) (verdict, float64) {
	limit := b.limit
	if !asked(b.scenario, b.whose()) || b.against != "" && !asked(b.scenario, b.against) {
		return open, math.NaN()
	}
	if b.against != "" {
		theirs, has := r[b.scenario][b.against][b.figure]
		if !has {
			return missed, math.NaN()
		}
		limit *= theirs
	}
	value, has := r[b.scenario][b.whose()][b.figure]
	if !has || b.atLeast && value < limit || !b.atLeast && value > limit {
		return missed, limit
	}
	return kept, limit
}

func (b bound) whose() string {
	if b.of != "" {
		return b.of
	}
	return ebbtide
}

// line tells a judged bound.
func (b bound) line(r results, v verdict, limit float64) string {
	sign := "≤"
	if b.atLeast {
		sign = "≥"
	}
	measured := "nothing measured"
	if value, has := r[b.scenario][b.whose()][b.figure]; has {
		measured = fmt.Sprint(value)
	}
	bounded := fmt.Sprint(round(limit))
	switch {
	case math.IsNaN(limit):
		bounded = fmt.Sprintf("%g × what %s has not shown", b.limit, b.against)
	case b.against != "":
		bounded += fmt.Sprintf(" (%g × %s)", b.limit, b.against)
	}
	return fmt.Sprintf("%-10s  %-6s  %s of %s: %s, has to be %s %s",
		v, b.scenario, b.figure, b.whose(), measured, sign, bounded)
}

// printVerdicts shows each bound that was judged and says whether all were kept.
func printVerdicts(to io.Writer, r results, asked func(scenario, contender string) bool) bool {
	all := true
	_, _ = fmt.Fprintln(to, "\nWhat it had to show:")
	for _, b := range bounds {
		v, limit := b.judge(r, asked)
		if v == open {
			continue
		}
		_, _ = fmt.Fprintln(to, b.line(r, v, limit))
		all = all && v == kept
	}
	return all
}
