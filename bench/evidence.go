package main

import (
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// evidence is all that was seen of a trial. What it comes to is computed from it
// alone, without a clock or a cluster.
type evidence struct {
	notice            time.Duration
	noticed, deadline time.Time
	observed          time.Time // until when
	nodes             []string  // that are doomed
	pods              []doomedPod
	desired           map[string]int // by group
	records           []lab.PodRecord
	requests          []lab.Request
	cordons           map[string]time.Time // by node
	budgets           []budgetSight
	endpoints         []endpointSight
	failures          int
}

// headStart is what nobody can have back of a notice: the time until it is polled and
// the node is cordoned (1.2 s at p99 is what scenario f allows), until a first eviction
// is answered, and what whole seconds of grace cut off.
const headStart = 2500 * time.Millisecond

// left is how much of the notice a handler can give a pod that it tells to stop at
// once: all but the head start and what the design keeps in reserve for the end.
func (e evidence) left() time.Duration {
	reserve := time.Second
	switch {
	case e.notice >= time.Minute:
		reserve = 5 * time.Second
	case e.notice >= 20*time.Second:
		reserve = 3 * time.Second
	}
	return e.notice - reserve - headStart
}

// figures says what the evidence comes to.
func (e evidence) figures() Figures {
	f := Figures{figurePods: float64(len(e.pods)), figureObserved: e.since(e.observed)}
	e.timeCordons(f)
	e.countPods(f)
	e.countRequests(f)
	e.weighAvailability(f)
	f[figurePastBudget] = float64(e.pastBudget())
	if e.failures > 0 {
		f[figureFailures] = float64(e.failures)
	}
	return f
}

func (e evidence) since(at time.Time) float64 { return round(at.Sub(e.noticed).Seconds()) }

// timeCordons says when the nodes were seen cordoned. Where one never was, there is no
// last.
func (e evidence) timeCordons(f Figures) {
	var took []float64
	for _, node := range e.nodes {
		if at, is := e.cordons[node]; is {
			took = append(took, e.since(at))
		}
	}
	slices.Sort(took)
	f[figureCordoned] = float64(len(took))
	if len(took) > 0 {
		f[figureCordonP50] = quantile(took, 0.5)
	}
	if len(took) > 0 && len(took) == len(e.nodes) {
		f[figureCordonLast] = took[len(took)-1]
	}
}

// countPods says how the doomed pods ended, and what grace they had.
func (e evidence) countPods(f Figures) {
	records := e.byUID()
	var given, possible time.Duration
	var told []time.Time
	var gone time.Time
	for _, figure := range []string{figureExited, figureKilled, figureLost, figureGraceShort, figureLostThoughFits} {
		f[figure] = 0
	}
	for _, pod := range e.pods {
		record := records[pod.uid]
		had := e.grace(record)
		could := min(pod.grace, e.left())
		given, possible = given+min(had, could), possible+could
		if e.toldInTime(record) {
			told = append(told, record.ToldAt)
		}
		gone = later(gone, record.EndedAt)
		switch record.End {
		case lab.Exited, lab.Completed:
			f[figureExited]++
			continue // It took what it wanted.
		case lab.Killed:
			f[figureKilled]++
		case lab.Lost, lab.Running:
			f[figureLost]++
			if pod.grace <= e.left() {
				f[figureLostThoughFits]++
			}
		}
		if had < could {
			f[figureGraceShort]++
		}
	}
	pods := float64(len(e.pods))
	f[figureTold] = float64(len(told))
	f[figureToldRatio] = round(float64(len(told)) / pods)
	f[figureExitedRatio] = round(f[figureExited] / pods)
	f[figureGraceRatio] = round(given.Seconds() / possible.Seconds())
	if len(told) > 0 {
		f[figureFirstEviction] = e.since(slices.MinFunc(told, time.Time.Compare))
		f[figureLastEviction] = e.since(slices.MaxFunc(told, time.Time.Compare))
	}
	if f[figureLost] == 0 {
		f[figureDrained] = e.since(gone)
	}
}

func (e evidence) byUID() map[types.UID]lab.PodRecord {
	records := make(map[types.UID]lab.PodRecord, len(e.records))
	for _, record := range e.records {
		records[record.UID] = record
	}
	return records
}

func (e evidence) toldInTime(r lab.PodRecord) bool {
	return !r.ToldAt.IsZero() && r.ToldAt.Before(e.deadline)
}

// grace is the time that a pod had between SIGTERM and whatever would have ended it:
// SIGKILL, or the end of its machine.
func (e evidence) grace(r lab.PodRecord) time.Duration {
	if !e.toldInTime(r) {
		return 0
	}
	return min(r.Grace, e.deadline.Sub(r.ToldAt))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// countRequests counts what the API server was asked for since the notice.
func (e evidence) countRequests(f Figures) {
	for _, figure := range []string{figureRequests, figureEvents, figureRefused, figureConflicts, figureThrottled} {
		f[figure] = 0
	}
	for _, request := range e.requests {
		switch {
		case request.Time.Before(e.noticed):
			continue
		case request.Resource == "events":
			f[figureEvents]++
			continue
		}
		f[figureRequests]++
		eviction := request.Subresource == "eviction"
		switch {
		case eviction && request.Code == http.StatusTooManyRequests:
			f[figureRefused]++
		case eviction && request.Code == http.StatusConflict:
			f[figureConflicts]++
		case request.Code == http.StatusTooManyRequests:
			f[figureThrottled]++
		}
	}
	f[figureRequestsPerPod] = round(f[figureRequests] / float64(len(e.pods)))
}
