package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/drain"
)

// drainMetrics count what becomes of drains and of their pods; see [drainCount].
type drainMetrics struct {
	drains   *prometheus.CounterVec
	duration prometheus.Histogram
	slack    prometheus.Histogram
	toCordon prometheus.Histogram
	toFirst  prometheus.Histogram
	toLast   prometheus.Histogram
	toGone   prometheus.Histogram
	pods     *prometheus.CounterVec
	graces   *prometheus.CounterVec
	late     prometheus.Counter
	retries  prometheus.Counter
}

// Results of a drain, as the label "outcome" of ebbtide_drains_total.
const (
	drained    = "Drained"
	incomplete = "Incomplete"
)

// What Ebbtide gave a pod to stop in, as the label "grace".
const (
	fullGrace      = "Full"
	shortenedGrace = "Shortened"
	// noGrace: the pod was never told, and went down with the machine as far as
	// anybody here knows.
	noGrace = "None"
)

// lateBy is how much later than planned a pod may be told before that counts: a
// call at the latest moment has one second for its reply.
const lateBy = time.Second

// Buckets: the notices that clouds give are 30 s and 120 s long, and what takes
// the API server less than 50 ms is as good as at once.
var (
	overNotice = []float64{1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 105, 120, 300}
	fromNotice = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 105, 120, 300}
)

func newDrainMetrics(registry prometheus.Registerer) drainMetrics {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := drainMetrics{
		drains: counter("ebbtide_drains_total", "Drains that ended, by outcome.", "outcome"),
		duration: histogram("ebbtide_drain_duration_seconds",
			"Time from first sight of a notice to the end of its drain.", overNotice),
		slack: histogram("ebbtide_drain_slack_seconds",
			"Time left before the deadline when every pod had left; of drains that were complete.", overNotice),
		toCordon: histogram("ebbtide_notice_to_cordon_seconds",
			"Time from first sight of a notice to the cordoned node.", fromNotice),
		toFirst: histogram("ebbtide_notice_to_first_told_seconds",
			"Time from first sight of a notice until the first pod was told to stop.", fromNotice),
		toLast: histogram("ebbtide_notice_to_last_told_seconds",
			"Time from first sight of a notice until the last pod was told to stop.", fromNotice),
		toGone: histogram("ebbtide_notice_to_last_gone_seconds",
			"Time from first sight of a notice until the last pod was gone; of drains that were complete.", fromNotice),
		pods: counter("ebbtide_pods_total",
			"Pods that had to leave, by the path they took, counted when they are told to stop. Those still there at the end of the time are counted as Lost, too.", "path"),
		graces: counter("ebbtide_pod_graces_total",
			"Pods that had to be told to stop, by how much of their own grace they were given; None were never told. What others had told before is not counted.", "grace"),
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ebbtide_pods_told_late_total",
			Help: "Pods told to stop more than a second after the last moment for all of their grace, or after a notice that left no such moment.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ebbtide_pod_retries_total", Help: "Calls beyond the first that pods took to be told to stop.",
		}),
	}
	registry.MustRegister(m.drains, m.duration, m.slack, m.toCordon, m.toFirst, m.toLast, m.toGone,
		m.pods, m.graces, m.late, m.retries)
	for _, outcome := range []string{drained, incomplete} {
		m.drains.WithLabelValues(outcome)
	}
	for _, path := range drain.Paths {
		m.pods.WithLabelValues(string(path))
	}
	for _, grace := range []string{fullGrace, shortenedGrace, noGrace} {
		m.graces.WithLabelValues(grace)
	}
	return m
}

// timed takes the times of a drain that has ended, from the first sight of its notice.
func (m *drainMetrics) timed(notice Notice, report drain.Report) {
	since := func(moment time.Time) float64 { return moment.Sub(notice.FirstSeen).Seconds() }
	m.duration.Observe(since(report.Ended))
	if !report.Cordon.Done.IsZero() {
		m.toCordon.Observe(since(report.Cordon.Done))
	}
	var first, last time.Time
	for i, pod := range report.Pods {
		m.asked(report.Plan.Moves[i], pod, notice.FirstSeen)
		if !pod.ToldAt.IsZero() && (first.IsZero() || pod.ToldAt.Before(first)) {
			first = pod.ToldAt
		}
		last = laterOf(last, pod.ToldAt)
	}
	if !first.IsZero() {
		m.toFirst.Observe(since(first))
		m.toLast.Observe(since(last))
	}
}

// asked counts what it took to tell a pod, and whether it was told by its latest
// moment, for which nobody can be held to account before the notice was seen. Where the
// deadline was tightened after the fact, that moment is the new one.
func (m *drainMetrics) asked(move drain.Move, pod drain.PodOutcome, seen time.Time) {
	m.retries.Add(float64(max(0, pod.Tries-1)))
	if latest := laterOf(move.ForceAt, seen); pod.ToldAt.After(latest.Add(lateBy)) {
		m.late.Inc()
	}
}

// completed takes the times of a drain that left no pod behind.
func (m *drainMetrics) completed(notice Notice, report drain.Report) {
	m.slack.Observe(report.Plan.Deadline.Sub(report.Ended).Seconds())
	var gone time.Time
	for _, pod := range report.Pods {
		gone = laterOf(gone, pod.GoneAt)
	}
	if !gone.IsZero() {
		m.toGone.Observe(gone.Sub(notice.FirstSeen).Seconds())
	}
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
