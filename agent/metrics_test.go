package agent

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/drain"
)

// ended is one pod of a report: what became of it, and when it should have been
// told at the latest, in seconds since the notice.
type ended struct {
	path          drain.Path
	forceAt       float64
	told, gone    float64 // 0: never
	wanted, given int64
	tries         int
}

// at is a moment after the notice, which is seen at noon; the machine has two
// minutes.
func at(seconds float64) time.Time {
	return noon.Add(time.Duration(seconds * float64(time.Second)))
}

// count returns the series that are not at zero after a drain of pods, without
// what an empty drain counts.
func count(t *testing.T, pods ...ended) map[string]float64 {
	t.Helper()
	report := drain.Report{Plan: drain.Plan{Deadline: at(120)}, Ended: at(100)}
	for i, pod := range pods {
		ref := drain.PodRef{UID: types.UID(strconv.Itoa(i))}
		report.Plan.Moves = append(report.Plan.Moves, drain.Move{PodRef: ref, ForceAt: at(pod.forceAt)})
		outcome := drain.PodOutcome{PodRef: ref, Path: pod.path, GraceWanted: pod.wanted, GraceGiven: pod.given, Tries: pod.tries}
		if pod.told > 0 {
			outcome.ToldAt = at(pod.told)
		}
		if pod.gone > 0 {
			outcome.GoneAt = at(pod.gone)
		}
		report.Pods = append(report.Pods, outcome)
	}
	registry := prometheus.NewRegistry()
	tell(registry, report)
	got := series(t, registry)
	for name, value := range got {
		if value == 0 || name == "ebbtide_drain_duration_seconds_count" {
			delete(got, name)
		}
	}
	return got
}

// tell counts report as an agent does whose drain it is: each pod when it has its
// outcome, and all of it at the end.
func tell(registry *prometheus.Registry, report drain.Report) {
	count := NewMetrics(registry, nil).begin(Notice{FirstSeen: noon, Deadline: at(120)})
	for _, pod := range report.Pods {
		count.observe(pod)
	}
	count.reported(report)
}

func TestWhatADrainCounts(t *testing.T) {
	t.Parallel()
	const (
		complete, slack    = `ebbtide_drains_total{outcome="Drained"}`, "ebbtide_drain_slack_seconds_count"
		incomplete         = `ebbtide_drains_total{outcome="Incomplete"}`
		first, last, empty = "ebbtide_notice_to_first_told_seconds_count", "ebbtide_notice_to_last_told_seconds_count", "ebbtide_notice_to_last_gone_seconds_count"
		full, shortened    = `ebbtide_pod_graces_total{grace="Full"}`, `ebbtide_pod_graces_total{grace="Shortened"}`
		none               = `ebbtide_pod_graces_total{grace="None"}`
		late, retries      = "ebbtide_pods_told_late_total", "ebbtide_pod_retries_total"
	)
	path := func(path drain.Path) string { return `ebbtide_pods_total{path="` + string(path) + `"}` }
	cases := map[string]struct {
		pods []ended
		want map[string]float64
	}{
		"a node without pods": {nil, map[string]float64{complete: 1, slack: 1}},
		"a pod that was evicted at once": {
			[]ended{{drain.Evicted, 85, 1, 5, 30, 30, 1}},
			map[string]float64{complete: 1, slack: 1, first: 1, last: 1, empty: 1, full: 1, path(drain.Evicted): 1},
		},
		"a pod that was asked three times": {
			[]ended{{drain.Evicted, 85, 30, 40, 30, 30, 3}},
			map[string]float64{complete: 1, slack: 1, first: 1, last: 1, empty: 1, full: 1, path(drain.Evicted): 1, retries: 2},
		},
		"a pod that was forced in its last second": {
			[]ended{{drain.Forced, 85, 86, 95, 30, 30, 2}},
			map[string]float64{complete: 1, slack: 1, first: 1, last: 1, empty: 1, full: 1, path(drain.Forced): 1, retries: 1},
		},
		"a pod that was forced later than that": {
			[]ended{{drain.Forced, 85, 86.5, 95, 30, 29, 1}},
			map[string]float64{complete: 1, slack: 1, first: 1, last: 1, empty: 1, shortened: 1, path(drain.Forced): 1, late: 1},
		},
		"a pod that wants more than the machine has, told in the first second": {
			[]ended{{drain.Clamped, -185, 1, 100, 300, 114, 1}},
			map[string]float64{complete: 1, slack: 1, first: 1, last: 1, empty: 1, shortened: 1, path(drain.Clamped): 1},
		},
		"a pod that wants more than the machine has, told later than that": {
			[]ended{{drain.Clamped, -185, 2, 100, 300, 113, 1}},
			map[string]float64{complete: 1, slack: 1, first: 1, last: 1, empty: 1, shortened: 1, path(drain.Clamped): 1, late: 1},
		},
		"a pod that nobody could tell": {
			[]ended{{drain.Lost, 85, 0, 0, 30, 0, 60}},
			map[string]float64{incomplete: 1, none: 1, path(drain.Lost): 1, retries: 59},
		},
		"a pod that was told and did not end": {
			[]ended{{drain.Lost, 85, 85, 0, 30, 30, 1}},
			map[string]float64{incomplete: 1, first: 1, last: 1, full: 1, path(drain.Lost): 1},
		},
		"pods that ended by themselves": {
			[]ended{{drain.Finished, 85, 0, 10, 30, 0, 0}, {drain.AlreadyGone, 85, 0, 12, 30, 0, 0}},
			map[string]float64{complete: 1, slack: 1, empty: 1, path(drain.Finished): 1, path(drain.AlreadyGone): 1},
		},
		"a drain that was called off": {
			[]ended{{drain.CalledOff, 85, 0, 0, 30, 0, 1}},
			map[string]float64{incomplete: 1, path(drain.CalledOff): 1},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, count(t, c.pods...)); diff != "" {
				t.Errorf("series (-want +got):\n%s", diff)
			}
		})
	}
}

// It did not have to be told, and nobody here knows what grace it was given.
func TestAPodThatOthersHadToldCountsForNoGrace(t *testing.T) {
	t.Parallel()
	for _, path := range []drain.Path{drain.AlreadyGone, drain.Lost} {
		registry := prometheus.NewRegistry()
		report := drain.Report{
			Plan: drain.Plan{Deadline: at(120), Moves: []drain.Move{{Action: drain.Await, ForceAt: at(85)}}},
			Pods: []drain.PodOutcome{{Path: path, GraceWanted: 30, ToldByOthers: true}}, Ended: at(100),
		}
		tell(registry, report)
		got := series(t, registry)
		for _, grace := range []string{fullGrace, shortenedGrace, noGrace} {
			if n := got[`ebbtide_pod_graces_total{grace="`+grace+`"}`]; n != 0 {
				t.Errorf("a pod that is %s is counted %v times as %s", path, n, grace)
			}
		}
		if n := got[`ebbtide_pods_total{path="`+string(path)+`"}`]; n != 1 {
			t.Errorf("a pod that is %s is counted %v times, want once", path, n)
		}
	}
}

func TestADrainIsTimedFromTheNotice(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	report := drain.Report{
		Plan:   drain.Plan{Deadline: at(60), Moves: make([]drain.Move, 2)}, // a second notice left half the time
		Cordon: drain.CordonOutcome{Done: at(.25)},
		Pods: []drain.PodOutcome{
			{Path: drain.Evicted, ToldAt: at(3), GoneAt: at(7)}, {Path: drain.Evicted, ToldAt: at(2), GoneAt: at(8)},
		},
		Ended: at(10),
	}
	tell(registry, report)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		if h := family.GetMetric()[0].GetHistogram(); h.GetSampleCount() > 0 {
			got[family.GetName()] = h.GetSampleSum()
		}
	}
	want := map[string]float64{
		"ebbtide_notice_to_cordon_seconds": .25, "ebbtide_notice_to_first_told_seconds": 2,
		"ebbtide_notice_to_last_told_seconds": 3, "ebbtide_notice_to_last_gone_seconds": 8,
		"ebbtide_drain_duration_seconds": 10, "ebbtide_drain_slack_seconds": 50,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
}

func TestCallsAreCountedByWhatTheirReplyMeans(t *testing.T) {
	t.Parallel()
	play(t, []*corev1.Pod{newPod("open"), newPod("stuck")}, func(s *scene) {
		registry := prometheus.NewRegistry()
		s.agent.Metrics = NewMetrics(registry, s.agent.Sources)
		s.agent.Node = s.agent.Metrics.CountCalls(s.node)
		s.node.closed["stuck"] = true
		s.says(fromThenOn)
		s.begin()
		s.at(endsAt)
		refused := float64(len(s.node.times(evict)) - 1)
		want := map[string]float64{"Accepted": 2, "BudgetClosed": refused}
		got := map[string]float64{}
		for name, value := range series(s.T, registry) {
			if rest, is := strings.CutPrefix(name, `ebbtide_pod_calls_total{verdict="`); is && value > 0 {
				got[strings.TrimSuffix(rest, `"}`)] = value
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.Errorf("calls (-want +got):\n%s", diff)
		}
		if refused == 0 {
			s.Error("the closed budget refused nobody")
		}
	})
}

func TestACallThatEndedWithItsDrainIsNotCounted(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		ends func(context.Context) (context.Context, context.CancelFunc)
		want float64
	}{
		"the drain is over": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, 0},
		"the call was given up": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(errors.New("no reply in time"))
			return ctx, func() {}
		}, 1},
		"the call took too long": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 0)
		}, 1},
		"the connection was refused": {context.WithCancel, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewRegistry()
			node := newMemoryNode(t, newPod("web"))
			node.setFault(func(context.Context, string) error { return errBroken })
			counted := NewMetrics(registry, nil).CountCalls(node)
			ctx, cancel := c.ends(t.Context())
			defer cancel()
			for _, err := range []error{
				counted.Evict(ctx, drain.PodRef{}, time.Second), counted.Delete(ctx, drain.PodRef{}, time.Second),
			} {
				if !errors.Is(err, errBroken) {
					t.Errorf("the error came through as %v", err)
				}
			}
			if n := series(t, registry)[`ebbtide_pod_calls_total{verdict="Unreachable"}`]; n != 2*c.want {
				t.Errorf("%v calls are counted, want %v", n, 2*c.want)
			}
		})
	}
}

func TestEveryVerdictIsBornAtZero(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../drain/reply.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	ast.Inspect(file, func(node ast.Node) bool {
		spec, is := node.(*ast.ValueSpec)
		if !is {
			return true
		}
		if kind, named := spec.Type.(*ast.Ident); named && kind.Name == "Verdict" {
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				t.Fatalf("the verdict %s is no literal", spec.Names[0])
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, text)
		}
		return true
	})
	got := make([]string, 0, len(verdicts))
	for _, verdict := range verdicts {
		got = append(got, string(verdict))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("verdicts (-drain/reply.go +metrics):\n%s", diff)
	}
}
