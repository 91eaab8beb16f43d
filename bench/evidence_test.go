package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

var noticed = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// at is a moment in seconds from the notice.
func at(seconds float64) time.Time { return noticed.Add(time.Duration(seconds * float64(time.Second))) }

// play is evidence of a notice of a minute for pods of group "web" with the records
// given, by their names.
func play(grace time.Duration, records ...lab.PodRecord) evidence {
	e := evidence{notice: time.Minute, noticed: noticed, deadline: at(60), observed: at(70), desired: map[string]int{}}
	for _, record := range records {
		record.UID = types.UID(record.Name)
		e.records = append(e.records, record)
		e.pods = append(e.pods, doomedPod{uid: record.UID, name: record.Name, group: groupOf(record.Name), grace: grace})
	}
	return e
}

func told(name string, toldAt, grace, endedAt float64, end lab.End) lab.PodRecord {
	r := lab.PodRecord{Name: name, ReadyAt: at(-30), EndedAt: at(endedAt), End: end}
	if toldAt >= 0 {
		r.ToldAt, r.Grace = at(toldAt), time.Duration(grace)*time.Second
	}
	return r
}

const untold = -1

func TestHowAPodEndedIsJudgedByTheGraceThatItCouldHaveHad(t *testing.T) {
	t.Parallel()
	ratio := func(seconds float64) float64 { return round(seconds / 52.5) } // 60 s but for 5 s of reserve and the head start
	cases := map[string]struct {
		grace  time.Duration
		record lab.PodRecord
		want   Figures
	}{
		"a pod that ended by itself lacks nothing": {
			30 * time.Second, told("web-1", 2, 30, 8, lab.Exited),
			Figures{figureExited: 1, figureToldRatio: 1, figureGraceRatio: 1, figureDrained: 8},
		},
		"a pod that got a little and needed no more lacks nothing either": {
			30 * time.Second, told("web-1", 2, 15, 8, lab.Exited),
			Figures{figureExited: 1, figureToldRatio: 1, figureGraceRatio: 0.5, figureDrained: 8},
		},
		"a pod killed after its own grace lacks nothing": {
			10 * time.Second, told("web-1", 2, 10, 12, lab.Killed),
			Figures{figureKilled: 1, figureToldRatio: 1, figureGraceRatio: 1, figureDrained: 12},
		},
		"a pod killed after all that the notice could give lacks nothing": {
			10 * time.Minute, told("web-1", 2, 53, 55, lab.Killed),
			Figures{figureKilled: 1, figureToldRatio: 1, figureGraceRatio: 1, figureDrained: 55},
		},
		"a pod killed in the middle of the notice is short of grace": {
			10 * time.Minute, told("web-1", 2, 20, 22, lab.Killed),
			Figures{figureKilled: 1, figureGraceShort: 1, figureToldRatio: 1, figureGraceRatio: ratio(20), figureDrained: 22},
		},
		"a pod told too late is short of grace": {
			30 * time.Second, told("web-1", 50, 5, 55, lab.Killed),
			Figures{figureKilled: 1, figureGraceShort: 1, figureToldRatio: 1, figureGraceRatio: round(5. / 30), figureDrained: 55},
		},
		"a pod lost with all the time that there was is lost, and not short of it": {
			10 * time.Minute, told("web-1", 1, 600, 60, lab.Lost),
			Figures{figureLost: 1, figureToldRatio: 1, figureGraceRatio: 1},
		},
		"a pod lost untold that could have ended is all of it": {
			30 * time.Second, told("web-1", untold, 0, 60, lab.Lost),
			Figures{figureLost: 1, figureLostThoughFits: 1, figureGraceShort: 1},
		},
		"a pod told after its machine had died was not told": {
			30 * time.Second, told("web-1", 61, 30, 60, lab.Lost),
			Figures{figureLost: 1, figureLostThoughFits: 1, figureGraceShort: 1},
		},
	}
	interesting := []string{
		figureExited, figureKilled, figureLost, figureLostThoughFits, figureGraceShort, figureToldRatio, figureGraceRatio, figureDrained,
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, all := Figures{}, play(c.grace, c.record).figures()
			for _, figure := range interesting {
				if value, has := all[figure]; has && value != 0 {
					got[figure] = value
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("figures but for zeros (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEvictionsAreTimedByTheSignalsThatPodsGot(t *testing.T) {
	t.Parallel()
	got := play(time.Second, told("web-1", 4, 1, 5, lab.Exited), told("web-2", 0.5, 1, 1, lab.Exited), told("web-3", untold, 0, 60, lab.Lost)).figures()
	if got[figureFirstEviction] != 0.5 || got[figureLastEviction] != 4 {
		t.Errorf("from %v s to %v s, want from 0.5 to 4", got[figureFirstEviction], got[figureLastEviction])
	}
	if last, has := play(time.Second, told("web-3", untold, 0, 60, lab.Lost)).figures()[figureLastEviction]; has {
		t.Errorf("nobody was told, yet the last at %v s", last)
	}
}

func TestRequestsCountFromTheNoticeOnAndEventsApart(t *testing.T) {
	t.Parallel()
	e := play(time.Second, told("web-1", 1, 1, 2, lab.Exited), told("web-2", 1, 1, 2, lab.Exited))
	e.requests = []lab.Request{
		{Time: at(-1), Verb: "watch", Resource: "pods"},
		{Time: at(1), Verb: "patch", Resource: "nodes", Code: 200},
		{Time: at(1), Verb: "create", Resource: "pods", Subresource: "eviction", Code: 429},
		{Time: at(2), Verb: "create", Resource: "pods", Subresource: "eviction", Code: 409},
		{Time: at(3), Verb: "create", Resource: "pods", Subresource: "eviction", Code: 201},
		{Time: at(3), Verb: "get", Code: 200},
		{Time: at(4), Verb: "patch", Resource: "nodes", Code: 429},
		{Time: at(4), Verb: "create", Group: "events.k8s.io", Resource: "events", Code: 201},
	}
	got := Figures{}
	e.countRequests(got)
	want := Figures{figureRequests: 6, figureRequestsPerPod: 3, figureEvents: 1, figureRefused: 1, figureConflicts: 1, figureThrottled: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheLastCordonIsOneOfAllNodesOrNone(t *testing.T) {
	t.Parallel()
	e := evidence{
		noticed: noticed, nodes: []string{"a", "b", "c"},
		cordons: map[string]time.Time{"a": at(0.5), "b": at(0.25), "c": at(9), "bystander": at(30)},
	}
	got := Figures{}
	e.timeCordons(got)
	if diff := cmp.Diff(Figures{figureCordoned: 3, figureCordonP50: 0.5, figureCordonLast: 9}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	delete(e.cordons, "c")
	got = Figures{}
	e.timeCordons(got)
	if diff := cmp.Diff(Figures{figureCordoned: 2, figureCordonP50: 0.25}, got); diff != "" {
		t.Errorf("with a node that was never cordoned (-want +got):\n%s", diff)
	}
}
