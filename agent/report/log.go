// Package report is where a finished report goes: the log, the API server's
// Events. A reporter never delays a drain, and none depends on another.
package report

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

// Log writes one line for each drain, drill and advice, with the whole report in it: the record
// that outlives the node.
type Log struct {
	Log *slog.Logger
}

var _ agent.Reporter = Log{}

// Report never fails.
func (l Log) Report(ctx context.Context, notice agent.Notice, report drain.Report) error {
	level := slog.LevelInfo
	// What stays on an advice is well where it is.
	if !report.Complete() && notice.Advice == "" {
		level = slog.LevelWarn
	}
	// Counted here as well: it is what one looks for first, and what a query over
	// many nodes' logs sums up.
	paths := make([]any, 0, len(drain.Paths))
	for _, path := range drain.Paths {
		paths = append(paths, slog.Int(string(path), report.Count(path)))
	}
	attributes := []slog.Attr{
		slog.Bool("complete", report.Complete()),
		slog.String("node", report.Plan.Node), slog.String("notice", notice.ID),
		slog.Float64("tookSeconds", report.Ended.Sub(notice.FirstSeen).Seconds()),
		// The plan's deadline is the one that held at the end.
		slog.Float64("leftSeconds", report.Plan.Deadline.Sub(report.Ended).Seconds()),
		slog.Group("paths", paths...), slog.Any("report", report),
	}
	switch {
	case notice.Kind == agent.Drill:
		l.Log.LogAttrs(ctx, level, "Ended drill", attributes...)
	case notice.Advice != "":
		l.Log.LogAttrs(ctx, level, "Followed advice", attributes...)
	default:
		l.Log.LogAttrs(ctx, level, "Drained node", attributes...)
	}
	return nil
}

// All tells every reporter of the list at the same time, so that one that hangs
// takes no time from the others, and each of them whatever became of the others.
type All []agent.Reporter

var (
	_ agent.Reporter = All{}
	_ agent.Noticer  = All{}
)

// Noticed tells those of the list that are Noticers, and joins their errors.
func (a All) Noticed(ctx context.Context, notice agent.Notice) error {
	return a.each(func(to agent.Reporter) error {
		if noticer, wants := to.(agent.Noticer); wants {
			return noticer.Noticed(ctx, notice)
		}
		return nil
	})
}

// Report joins the errors of the reporters that failed.
func (a All) Report(ctx context.Context, notice agent.Notice, report drain.Report) error {
	return a.each(func(to agent.Reporter) error { return to.Report(ctx, notice, report) })
}

// each joins the errors in the order of the list, so that they read the same each
// time.
func (a All) each(tell func(agent.Reporter) error) error {
	errs := make([]error, len(a))
	var telling sync.WaitGroup
	for i, to := range a {
		telling.Go(func() { errs[i] = tell(to) })
	}
	telling.Wait()
	return errors.Join(errs...)
}
