package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

// noon is when the notice of these tests was seen.
var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

var notice = agent.Notice{ID: "notice-1", FirstSeen: noon, Deadline: noon.Add(2 * time.Minute)}

// drained returns the report of a drain of 30 s whose pods took paths.
func drained(paths ...drain.Path) drain.Report {
	report := drain.Report{
		Plan:   drain.Plan{Node: "node-1", Deadline: notice.Deadline, Moves: []drain.Move{}, Skips: []drain.Skip{}},
		Cordon: drain.CordonOutcome{Done: noon.Add(time.Second), Ours: true},
		Ended:  noon.Add(30 * time.Second),
	}
	for _, path := range paths {
		ref := drain.PodRef{Namespace: "default", Name: "web", UID: "uid-web"}
		report.Plan.Moves = append(report.Plan.Moves, drain.Move{PodRef: ref, GraceSeconds: 30})
		report.Pods = append(report.Pods, drain.PodOutcome{PodRef: ref, Path: path, GraceWanted: 30})
	}
	return report
}

func TestADrainIsOneLineWithTheWholeReport(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		report   drain.Report
		level    string
		complete bool
		// counts holds the paths that are not at zero.
		counts map[drain.Path]int
	}{
		"all pods left":        {drained(drain.Evicted, drain.Forced), "INFO", true, map[drain.Path]int{drain.Evicted: 1, drain.Forced: 1}},
		"there were no pods":   {drained(), "INFO", true, nil},
		"a pod was lost":       {drained(drain.Evicted, drain.Lost), "WARN", false, map[drain.Path]int{drain.Evicted: 1, drain.Lost: 1}},
		"a pod was called off": {drained(drain.CalledOff), "WARN", false, map[drain.Path]int{drain.CalledOff: 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var text bytes.Buffer
			log := Log{Log: slog.New(slog.NewJSONHandler(&text, nil))}
			if err := log.Report(t.Context(), notice, c.report); err != nil {
				t.Fatal(err)
			}
			type line struct {
				Level, Msg               string
				Complete                 bool
				Node, Notice             string
				TookSeconds, LeftSeconds float64
				Paths                    map[drain.Path]int
				Report                   drain.Report
			}
			if n := bytes.Count(text.Bytes(), []byte("\n")); n != 1 {
				t.Errorf("the log has %d lines, want one", n)
			}
			var got line
			if err := json.Unmarshal(text.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			paths := map[drain.Path]int{}
			for _, path := range drain.Paths {
				paths[path] = c.counts[path]
			}
			want := line{c.level, "Drained node", c.complete, "node-1", "notice-1", 30, 90, paths, c.report}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheLineSaysHowMuchTimeWasLeftBeforeTheDeadlineThatHeldAtTheEnd(t *testing.T) {
	t.Parallel()
	tightened := drained(drain.Evicted)
	tightened.Plan.Deadline = noon.Add(time.Minute)
	var text bytes.Buffer
	log := Log{Log: slog.New(slog.NewJSONHandler(&text, nil))}
	if err := log.Report(t.Context(), notice, tightened); err != nil {
		t.Fatal(err)
	}
	var got struct{ LeftSeconds float64 }
	if err := json.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.LeftSeconds != 30 {
		t.Errorf("%v s were left, want 30", got.LeftSeconds)
	}
}

// sink is a Reporter that counts, and answers with an error of its own.
type sink struct {
	err  error
	told int
}

func (s *sink) Report(context.Context, agent.Notice, drain.Report) error {
	s.told++
	return s.err
}

func TestEveryReporterIsToldWhateverBecameOfTheOthers(t *testing.T) {
	t.Parallel()
	first, second := errors.New("no route to host"), errors.New("403 Forbidden")
	cases := map[string]struct {
		sinks []*sink
		want  []error
	}{
		"all were told":      {[]*sink{{}, {}}, nil},
		"the first failed":   {[]*sink{{err: first}, {}}, []error{first}},
		"two failed":         {[]*sink{{err: first}, {}, {err: second}}, []error{first, second}},
		"there was nobody":   {nil, nil},
		"the only one fails": {[]*sink{{err: second}}, []error{second}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all All
			for _, one := range c.sinks {
				all = append(all, one)
			}
			err := all.Report(t.Context(), notice, drained(drain.Evicted))
			if (err != nil) != (len(c.want) > 0) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("error is %v, want %q in it", err, want)
				}
			}
			for i, one := range c.sinks {
				if one.told != 1 {
					t.Errorf("reporter %d was told %d times", i, one.told)
				}
			}
		})
	}
}

// noticer is a sink that wants to know of notices too.
type noticer struct {
	sink
	noticed int
}

func (n *noticer) Noticed(context.Context, agent.Notice) error {
	n.noticed++
	return n.err
}

func TestOnlyThoseAreToldOfANoticeWhoWantToKnow(t *testing.T) {
	t.Parallel()
	broken := errors.New("no route to host")
	wants, deaf := &noticer{sink: sink{err: broken}}, &sink{}
	if err := (All{deaf, wants}).Noticed(t.Context(), notice); !errors.Is(err, broken) {
		t.Errorf("error is %v, want %v", err, broken)
	}
	if wants.noticed != 1 || wants.told+deaf.told != 0 {
		t.Errorf("the noticer was told of %d notices, and reports were told %d times; want 1 and 0", wants.noticed, wants.told+deaf.told)
	}
}

// stuck is a Reporter that hangs for as long as it may.
type stuck struct{}

func (stuck) Report(ctx context.Context, _ agent.Notice, _ drain.Report) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAReporterThatHangsTakesNoTimeFromTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		other := &sink{}
		ended := make(chan error)
		go func() { ended <- All{stuck{}, other}.Report(ctx, notice, drained(drain.Evicted)) }()
		synctest.Wait()
		if other.told != 1 {
			t.Error("the second reporter waits for the first")
		}
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v, want that of the one that hung", err)
		}
	})
}

func TestWhatIsNoInterruptionIsALineOfItsOwn(t *testing.T) {
	t.Parallel()
	drill, advice := notice, notice
	drill.Kind, advice.Advice = agent.Drill, agent.HandOver
	type begin struct {
		Level, Msg string
		Complete   bool
	}
	cases := map[string]struct {
		notice agent.Notice
		want   begin
	}{
		"a drill that spared a pod":                {drill, begin{"WARN", "Ended drill", false}},
		"an advice that left a pod, which is well": {advice, begin{"INFO", "Followed advice", false}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var text bytes.Buffer
			log := Log{Log: slog.New(slog.NewJSONHandler(&text, nil))}
			if err := log.Report(t.Context(), c.notice, drained(drain.Spared)); err != nil {
				t.Fatal(err)
			}
			var got begin
			if err := json.Unmarshal(text.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("the line begins (-want +got):\n%s", diff)
			}
		})
	}
}
