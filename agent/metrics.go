package agent

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/drain"
)

// Metrics counts what the agent sees and does. Every series exists from the
// start, at zero: a node does not live long enough after its notice for a
// counter to be born and scraped twice.
type Metrics struct {
	notices     *prometheus.CounterVec
	lead        prometheus.Histogram
	toCordon    prometheus.Histogram
	drains      *prometheus.CounterVec
	duration    prometheus.Histogram
	pods        *prometheus.CounterVec
	lastSuccess *prometheus.GaugeVec
	errors      *prometheus.CounterVec
	interrupted prometheus.Gauge
	requests    *prometheus.CounterVec
}

// Results of a drain, as the label "outcome" of ebbtide_drains_total.
const (
	drained    = "Drained"
	incomplete = "Incomplete"
)

// verbs are those that a drain asks with, and the code of their success.
var verbs = map[string]int{
	http.MethodGet: http.StatusOK, http.MethodPatch: http.StatusOK,
	http.MethodPost: http.StatusCreated, http.MethodDelete: http.StatusOK,
}

// NewMetrics registers the agent's metrics for sources with registry.
func NewMetrics(registry prometheus.Registerer, sources []Source) *Metrics {
	m := &Metrics{
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_notices_total", Help: "Notices acted on, by source and kind.",
		}, []string{"source", "kind"}),
		lead: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ebbtide_notice_lead_seconds", Help: "Time left before the deadline when a notice was first seen.",
			Buckets: []float64{5, 10, 20, 30, 60, 90, 105, 120, 300},
		}),
		toCordon: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ebbtide_notice_to_cordon_seconds", Help: "Time from first sight of a notice to the cordoned node.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		drains: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_drains_total", Help: "Drains that ended, by outcome.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ebbtide_drain_duration_seconds", Help: "Time from first sight of a notice to the end of its drain.",
			Buckets: []float64{1, 2, 5, 10, 20, 30, 60, 90, 120, 300},
		}),
		pods: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_pods_total", Help: "Pods that had to leave, by the path they took.",
		}, []string{"path"}),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ebbtide_source_last_success_timestamp_seconds", Help: "When a source was last read; 0 when never.",
		}, []string{"source"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_source_errors_total", Help: "Polls of a source that failed.",
		}, []string{"source"}),
		interrupted: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ebbtide_node_interrupted", Help: "1 while this node is under a notice, else 0.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_api_requests_total", Help: "Requests to the Kubernetes API, by verb and status code; code 0 had no reply.",
		}, []string{"verb", "code"}),
	}
	registry.MustRegister(m.notices, m.lead, m.toCordon, m.drains, m.duration, m.pods,
		m.lastSuccess, m.errors, m.interrupted, m.requests)
	for _, source := range sources {
		m.notices.WithLabelValues(label(source), string(SpotInterruption))
		m.lastSuccess.WithLabelValues(label(source))
		m.errors.WithLabelValues(label(source))
	}
	for _, outcome := range []string{drained, incomplete} {
		m.drains.WithLabelValues(outcome)
	}
	for _, path := range drain.Paths {
		m.pods.WithLabelValues(string(path))
	}
	for verb, success := range verbs {
		m.requests.WithLabelValues(verb, strconv.Itoa(success))
		m.requests.WithLabelValues(verb, "0")
	}
	return m
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

func (m *Metrics) noticed(source string, notice Notice, now time.Time) {
	m.notices.WithLabelValues(source, string(notice.Kind)).Inc()
	m.lead.Observe(max(0, notice.Deadline.Sub(now).Seconds()))
	m.interrupted.Set(1)
}

func (m *Metrics) lapsed() { m.interrupted.Set(0) }

func (m *Metrics) reported(notice Notice, report drain.Report) {
	outcome := drained
	if !report.Complete() {
		outcome = incomplete
	}
	m.drains.WithLabelValues(outcome).Inc()
	m.duration.Observe(report.Ended.Sub(notice.FirstSeen).Seconds())
	for _, pod := range report.Pods {
		m.pods.WithLabelValues(string(pod.Path)).Inc()
	}
	if !report.Cordon.Done.IsZero() {
		m.toCordon.Observe(report.Cordon.Done.Sub(notice.FirstSeen).Seconds())
	}
}

// CountRequests counts the requests that go through next. It fits
// rest.Config.Wrap.
func (m *Metrics) CountRequests(next http.RoundTripper) http.RoundTripper {
	return counter{m.requests, next}
}

type counter struct {
	requests *prometheus.CounterVec
	next     http.RoundTripper
}

func (c counter) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(request)
	code := 0
	if err == nil {
		code = response.StatusCode
	}
	c.requests.WithLabelValues(request.Method, strconv.Itoa(code)).Inc()
	return response, err
}
