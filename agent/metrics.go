package agent

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what the agent sees and does. Every series exists from the
// start, at zero: a node does not live long enough after its notice for a
// counter to be born and scraped twice.
type Metrics struct {
	drainMetrics
	drills      apartMetrics
	advices     apartMetrics
	notices     *prometheus.CounterVec
	lead        prometheus.Histogram
	lastSuccess *prometheus.GaugeVec
	blindAfter  *prometheus.GaugeVec
	errors      *prometheus.CounterVec
	interrupted prometheus.Gauge
	requests    *prometheus.CounterVec
	calls       *prometheus.CounterVec
}

// NewMetrics registers the agent's metrics with registry, and makes the series of
// sources. Those of sources that are found later are Expect's.
func NewMetrics(registry prometheus.Registerer, sources []Source) *Metrics {
	m := &Metrics{
		drainMetrics: newDrainMetrics(registry),
		drills:       newDrillMetrics(registry),
		advices:      newAdviceMetrics(registry),
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_notices_total", Help: "Notices acted on or reported, by source and kind.",
		}, []string{"source", "kind"}),
		lead: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ebbtide_notice_lead_seconds", Help: "Time left before the deadline when a notice was first seen.",
			Buckets: []float64{5, 10, 20, 30, 60, 90, 105, 120, 300},
		}),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ebbtide_source_last_success_timestamp_seconds", Help: "When a source was last read; 0 when never.",
		}, []string{"source"}),
		blindAfter: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ebbtide_source_blind_after_seconds",
			Help: "How long a source may go without a success until it counts as blind. It differs, as does how often they are read.",
		}, []string{"source"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_source_errors_total", Help: "Polls of a source that failed.",
		}, []string{"source"}),
		interrupted: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ebbtide_node_interrupted", Help: "1 while this node is under a notice that it is drained for, else 0.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_api_requests_total", Help: "Requests to the Kubernetes API but for Events, by verb and status code; code 0 had no reply.",
		}, []string{"verb", "code"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_pod_calls_total", Help: "Evictions and deletions asked for, by what the API server's reply meant for the pod.",
		}, []string{"verdict"}),
	}
	registry.MustRegister(m.notices, m.lead, m.lastSuccess, m.blindAfter, m.errors, m.interrupted, m.requests, m.calls)
	m.Expect(sources)
	for _, verdict := range verdicts {
		m.calls.WithLabelValues(string(verdict))
	}
	for verb, success := range verbs {
		m.requests.WithLabelValues(verb, strconv.Itoa(success))
		m.requests.WithLabelValues(verb, "0")
	}
	return m
}

// Expect makes the series of sources.
func (m *Metrics) Expect(sources []Source) {
	for _, source := range sources {
		for _, kind := range kinds {
			m.notices.WithLabelValues(label(source), string(kind))
		}
		m.lastSuccess.WithLabelValues(label(source))
		m.blindAfter.WithLabelValues(label(source)).Set(source.Pace().BlindAfter.Seconds())
		m.errors.WithLabelValues(label(source))
	}
}

// label names a source in metrics.
func label(source Source) string { return source.Provider() + "-" + source.Name() }

func (m *Metrics) polled(source Source, err error, now time.Time) {
	if err != nil {
		m.errors.WithLabelValues(label(source)).Inc()
		return
	}
	m.lastSuccess.WithLabelValues(label(source)).Set(float64(now.UnixMilli()) / 1000)
}

// noticed counts a notice that is acted on or reported.
func (m *Metrics) noticed(notice Notice, now time.Time) {
	m.notices.WithLabelValues(strings.Replace(notice.Source, "/", "-", 1), string(notice.Kind)).Inc()
	if notice.Advice == "" {
		m.lead.Observe(max(0, notice.Deadline.Sub(now).Seconds()))
		m.interrupted.Set(1)
	}
}

func (m *Metrics) lapsed() { m.interrupted.Set(0) }
