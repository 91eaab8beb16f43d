package main

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

var noticed = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a moment some seconds after the notice; negative is before it.
func at(seconds float64) time.Time {
	return noticed.Add(time.Duration(seconds * float64(time.Second)))
}

func TestEachFateIsWhatTheNodeSaw(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		record lab.PodRecord
		path   drain.Path
		want   Fate
	}{
		"evicted and ended in time":              {lab.PodRecord{End: lab.Exited, ToldAt: at(1)}, drain.Evicted, Graceful},
		"ended before it was told":               {lab.PodRecord{End: lab.Completed}, drain.Finished, Graceful},
		"deleted past its budget, in time":       {lab.PodRecord{End: lab.Exited, ToldAt: at(30)}, drain.Forced, Forced},
		"needed longer than its grace":           {lab.PodRecord{End: lab.Killed, ToldAt: at(1)}, drain.Evicted, Killed},
		"told, but the machine was faster":       {lab.PodRecord{End: lab.Lost, ToldAt: at(39)}, drain.Evicted, Lost},
		"never told":                             {lab.PodRecord{End: lab.Lost}, drain.Lost, Lost},
		"lost, whatever the agent says":          {lab.PodRecord{End: lab.Lost}, drain.Evicted, Lost},
		"not ended, which should not be":         {lab.PodRecord{End: lab.Running}, "", Lost},
		"belongs to the node":                    {lab.PodRecord{End: lab.Lost, OwnerKind: "DaemonSet"}, "", Stayed},
		"belongs to the node, but told to leave": {lab.PodRecord{End: lab.Lost, OwnerKind: "DaemonSet", ToldAt: at(39)}, "", Lost},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := fate(c.record, c.path); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// seen is a notice of 40 s: an eviction, a forced deletion, a loss, a pod of the node,
// and pods that do not count.
func seen() evidence {
	pod := func(name, end string, told, ended float64, edit func(*lab.PodRecord)) lab.PodRecord {
		r := lab.PodRecord{Name: name, UID: types.UID(name), Node: doomed, ReadyAt: at(-60), End: lab.End(end), EndedAt: at(ended)}
		if told > 0 {
			r.ToldAt, r.Grace = at(told), 30*time.Second
		}
		if edit != nil {
			edit(&r)
		}
		return r
	}
	web := func(r *lab.PodRecord) { r.OwnerKind, r.OwnerName = "ReplicaSet", "web-1" }
	return evidence{
		kubernetes: "v1.37.1", noticed: noticed, deadline: at(40), cordoned: at(0.5),
		records: []lab.PodRecord{
			pod("slow", "Exited", 28, 32.25, nil),
			pod("web-1-a", "Exited", 1, 2.5, web),
			pod("stuck", "Lost", 0, 40, nil),
			pod("logs", "Lost", 0, 40.01, func(r *lab.PodRecord) { r.OwnerKind, r.OwnerName = "DaemonSet", "logs" }),
			pod("gone-before", "Exited", 0, -1, nil),
			pod("elsewhere", "Running", 0, 0, func(r *lab.PodRecord) { r.Node, r.EndedAt = "spot-2", time.Time{} }),
			pod("web-1-b", "Running", 0, 0, func(r *lab.PodRecord) {
				web(r)
				r.Node, r.ReadyAt, r.EndedAt = "spot-2", at(3), time.Time{}
			}),
		},
		report: &drain.Report{Pods: []drain.PodOutcome{
			{PodRef: drain.PodRef{UID: "slow"}, Path: drain.Forced, GraceWanted: 60},
			{PodRef: drain.PodRef{UID: "web-1-a"}, Path: drain.Evicted, GraceWanted: 30},
			{PodRef: drain.PodRef{UID: "stuck"}, Path: drain.Lost, GraceWanted: 30},
		}},
		requests: []lab.Request{
			{Time: at(-1), Verb: "list", Resource: "nodes"},
			{Time: at(1), Verb: "create", Resource: "pods", Subresource: "eviction", Code: http.StatusTooManyRequests},
			{Time: at(2), Verb: "create", Resource: "pods", Subresource: "eviction", Code: http.StatusCreated},
			{Time: at(3), Verb: "patch", Resource: "nodes", Code: http.StatusOK},
			{Time: at(4), Verb: "create", Group: "events.k8s.io", Resource: "events", Code: http.StatusCreated},
		},
		metadata: []awstest.Request{{At: at(-1)}, {At: at(1)}, {At: at(2)}},
	}
}

func TestTheResultCountsWhatWasSeen(t *testing.T) {
	t.Parallel()
	want := Result{
		Kubernetes: "v1.37.1", Node: doomed, NoticeSeconds: 40, CordonSeconds: new(0.5),
		LastEvictionSeconds: 28, EmptySeconds: 40, SpareSeconds: 0,
		Pods: Pods{Total: 4, Graceful: 1, Forced: 1, Lost: 1, Stayed: 1},
		Web:  Web{Replicas: 20, Budget: 18, FewestReady: 0},
		Requests: Requests{
			Total: 3, PerPod: 1, Events: 1, Refused: 1,
			ByKind: map[string]int{"create pods/eviction": 2, "patch nodes": 1},
		},
		Metadata: Metadata{Total: 2, PerSecond: 0.05},
		Table: []Row{
			{
				Pod: "web-1-a", Owner: "ReplicaSet/web-1", Fate: Graceful, Path: drain.Evicted, ToldSeconds: new(1.0),
				GoneSeconds: 2.5, GraceWantedSeconds: 30, GraceGivenSeconds: 30, LeftSeconds: 37.5,
			},
			{
				Pod: "slow", Fate: Forced, Path: drain.Forced, ToldSeconds: new(28.0),
				GoneSeconds: 32.25, GraceWantedSeconds: 60, GraceGivenSeconds: 30, LeftSeconds: 7.75,
			},
			{Pod: "stuck", Fate: Lost, Path: drain.Lost, GoneSeconds: 40, GraceWantedSeconds: 30},
			{Pod: "logs", Owner: "DaemonSet/logs", Fate: Stayed, GoneSeconds: 40.01},
		},
		Reported: true,
	}
	if diff := cmp.Diff(want, newResult(seen())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOnlyADemoWithoutLossAndWithAReportIsASuccess(t *testing.T) {
	t.Parallel()
	saved := seen()
	saved.records = slices.DeleteFunc(saved.records, func(r lab.PodRecord) bool { return r.Name == "stuck" })
	silent := saved
	silent.report = nil
	if err := newResult(saved).verdict(); err != nil {
		t.Errorf("nothing was lost: %v", err)
	}
	if err := newResult(silent).verdict(); !errors.Is(err, errNoReport) {
		t.Errorf("without a report: %v", err)
	}
	if err := newResult(seen()).verdict(); err == nil || !strings.Contains(err.Error(), "1 pods were lost") {
		t.Errorf("with a pod lost: %v", err)
	}
}

func TestTheTableTellsEachStoryOnItsLine(t *testing.T) {
	t.Parallel()
	want := []string{
		"POD      OF          WHAT BECAME OF IT                         TOLD AT  GONE AT  GRACE       TIME LEFT",
		"web-1-a  ReplicaSet  evicted, ended by itself                  1.0 s    2.5 s    30 s        37.5 s",
		"slow     nobody      deleted past its budget, ended by itself  28.0 s   32.2 s   30 s of 60  7.8 s",
		"stuck    nobody      LOST with the machine                     never    40.0 s   -           0.0 s",
		"logs     DaemonSet   stayed with its node                      never    40.0 s   -           0.0 s",
	}
	if diff := cmp.Diff(want, newResult(seen()).table()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
