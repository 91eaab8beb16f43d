package main

import (
	"net/http"
	"slices"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// breach is a pod that went without its budgets being asked: deleted, or lost with its
// machine.
type breach struct {
	at    time.Time
	group string
	lost  bool
}

// pastBudget counts the doomed pods that were deleted or lost while a budget of theirs
// allowed no disruption. An eviction never is, since the API server checks. What the
// budget's status cannot know yet is taken off it: every loss, because Kubernetes
// takes a dead machine's pods for healthy for another minute, and the deletions since
// the status changed last.
func (e evidence) pastBudget() int {
	breaches := e.breaches()
	past := map[int]bool{}
	for _, sights := range e.sightsByBudget() {
		for _, i := range pastOne(breaches, sights) {
			past[i] = true // once, whatever number of budgets it has
		}
	}
	return len(past)
}

// pastOne returns the indexes of the breaches that the budget did not allow that was
// seen in sights.
func pastOne(breaches []breach, sights []budgetSight) []int {
	var past []int
	lost, deleted := 0, 0
	for i, b := range breaches {
		if b.group != groupOf(sights[0].name) {
			continue
		}
		for ; len(sights) > 1 && !sights[1].at.After(b.at); sights = sights[1:] {
			if sights[1].allowed != sights[0].allowed {
				deleted = 0
			}
		}
		if sights[0].allowed-lost-deleted <= 0 {
			past = append(past, i)
		}
		if b.lost {
			lost++
		} else {
			deleted++
		}
	}
	return past
}

func (e evidence) sightsByBudget() map[string][]budgetSight {
	sights := map[string][]budgetSight{}
	for _, sight := range e.budgets {
		sights[sight.name] = append(sights[sight.name], sight)
	}
	return sights
}

// breaches returns, in order of time, the doomed pods that went unasked, and when.
func (e evidence) breaches() []breach {
	deleted := e.deletions()
	records := e.byUID()
	var all []breach
	for _, pod := range e.pods {
		if at, is := deleted[pod.name]; is {
			all = append(all, breach{at, pod.group, false})
			continue
		}
		// A pod that ends after it was told to has been taken off its budget already.
		if record := records[pod.uid]; !record.EndedAt.IsZero() && !e.toldInTime(record) && record.End == lab.Lost {
			all = append(all, breach{record.EndedAt, pod.group, true})
		}
	}
	slices.SortStableFunc(all, func(a, b breach) int { return a.at.Compare(b.at) })
	return all
}

// deletions returns when pods were deleted, by name, that had not been evicted before.
func (e evidence) deletions() map[string]time.Time {
	deleted, evicted := map[string]time.Time{}, map[string]bool{}
	for _, request := range e.requests {
		if request.Resource != "pods" || request.DryRun || request.Code < http.StatusOK || request.Code >= http.StatusMultipleChoices {
			continue
		}
		_, again := deleted[request.Name]
		switch {
		case request.Subresource == "eviction":
			evicted[request.Name] = true
		case request.Verb == "delete" && request.Subresource == "" && !evicted[request.Name] && !again:
			deleted[request.Name] = request.Time
		}
	}
	return deleted
}
