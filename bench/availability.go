package main

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// weighAvailability says how the workloads fared while their nodes were emptied: by
// the nodes' records, which know of a lost pod at once.
func (e evidence) weighAvailability(f Figures) {
	records := map[string][]lab.PodRecord{}
	for _, record := range e.records {
		group := groupOf(record.Name)
		records[group] = append(records[group], record)
	}
	var unavailable time.Duration
	least := -1
	for group, desired := range e.desired {
		missing, fewest := shortfall(records[group], desired, e.noticed, e.observed)
		unavailable += missing
		if least < 0 || fewest < least {
			least = fewest
		}
	}
	f[figureUnavailable] = round(unavailable.Seconds())
	if least >= 0 {
		f[figureLeastReady] = float64(least)
	}
	if fewest, has := e.leastEndpoints(); has {
		f[figureLeastEndpoints] = float64(fewest)
	}
}

// shortfall integrates by how many the ready pods fell short of those that are desired,
// and returns the fewest that were ready at any moment between from and to.
func shortfall(records []lab.PodRecord, desired int, from, to time.Time) (missing time.Duration, fewest int) {
	type change struct {
		at time.Time
		by int
	}
	ready := 0
	var changes []change
	take := func(at time.Time, by int) {
		if at.After(from) {
			changes = append(changes, change{at, by})
		} else {
			ready += by
		}
	}
	for _, record := range records {
		if record.ReadyAt.IsZero() {
			continue
		}
		take(record.ReadyAt, 1)
		// From SIGTERM on a pod gets no new work; one that goes untold serves until then.
		if end := earlier(record.ToldAt, record.EndedAt); !end.IsZero() {
			take(end, -1)
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return a.at.Compare(b.at) })
	fewest = ready
	last := from
	for _, c := range changes {
		if c.at.After(to) {
			break
		}
		missing += time.Duration(max(0, desired-ready)) * c.at.Sub(last)
		last = c.at
		ready += c.by
		fewest = min(fewest, ready)
	}
	return missing + time.Duration(max(0, desired-ready))*to.Sub(last), fewest
}

// earlier returns the earlier of two times, of which a zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// leastEndpoints returns the fewest endpoints that any Service had at any moment: those
// that its EndpointSlices call ready and whose pods had not ended. It returns false if
// there is no Service.
func (e evidence) leastEndpoints() (fewest int, has bool) {
	ended := map[types.UID]time.Time{}
	for _, record := range e.records {
		if !record.EndedAt.IsZero() {
			ended[record.UID] = record.EndedAt
		}
	}
	services := map[string]bool{}
	for _, sight := range e.endpoints {
		services[sight.service] = true
	}
	for service := range services {
		for _, at := range e.moments(ended) {
			n := e.endpointsAt(service, at, ended)
			if !has || n < fewest {
				fewest, has = n, true
			}
		}
	}
	return fewest, has
}

// moments returns the notice and every time after it at which endpoints may change.
func (e evidence) moments(ended map[types.UID]time.Time) []time.Time {
	all := []time.Time{e.noticed}
	add := func(at time.Time) {
		if at.After(e.noticed) && !at.After(e.observed) {
			all = append(all, at)
		}
	}
	for _, sight := range e.endpoints {
		add(sight.at)
	}
	for _, at := range ended {
		add(at)
	}
	return all
}

func (e evidence) endpointsAt(service string, at time.Time, ended map[types.UID]time.Time) int {
	slicesNow := map[string][]types.UID{}
	for _, sight := range e.endpoints {
		if sight.service == service && !sight.at.After(at) {
			slicesNow[sight.slice] = sight.ready
		}
	}
	n := 0
	for _, uids := range slicesNow {
		for _, uid := range uids {
			if end, has := ended[uid]; !has || end.After(at) {
				n++
			}
		}
	}
	return n
}
