// Package report is where a finished report goes.
package report

import (
	"context"
	"errors"
	"log/slog"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

// Log writes one line for each drain, with the whole report in it: the record
// that outlives the node.
type Log struct {
	Log *slog.Logger
}

var _ agent.Reporter = Log{}

// Report never fails.
func (l Log) Report(ctx context.Context, notice agent.Notice, report drain.Report) error {
	level := slog.LevelInfo
	if !report.Complete() {
		level = slog.LevelWarn
	}
	l.Log.LogAttrs(ctx, level, "Drained node", slog.Bool("complete", report.Complete()),
		slog.String("node", report.Plan.Node), slog.String("notice", notice.ID),
		slog.Float64("tookSeconds", report.Ended.Sub(notice.FirstSeen).Seconds()),
		slog.Float64("leftSeconds", notice.Deadline.Sub(report.Ended).Seconds()), slog.Any("report", report))
	return nil
}

// All tells every reporter of the list, and each of them whatever became of the
// others.
type All []agent.Reporter

var _ agent.Reporter = All{}

// Report joins the errors of the reporters that failed.
func (a All) Report(ctx context.Context, notice agent.Notice, report drain.Report) error {
	var errs []error
	for _, to := range a {
		errs = append(errs, to.Report(ctx, notice, report))
	}
	return errors.Join(errs...)
}
