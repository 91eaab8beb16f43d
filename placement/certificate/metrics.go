package certificate

import (
	"github.com/prometheus/client_golang/prometheus"
)

// outcome is what became of a request that writes.
type outcome string

const (
	written outcome = "Written"
	// conflict means that somebody else was faster, which is how replicas agree.
	conflict outcome = "Conflict"
	failed   outcome = "Failed"
)

// The objects that are written, as a label of metrics.
const (
	secretObject        = "Secret"
	configurationObject = "MutatingWebhookConfiguration"
)

// metrics counts what a [Keeper] does. Every series exists from the start, at zero.
type metrics struct {
	notAfter prometheus.Gauge
	usable   prometheus.Gauge
	changes  *prometheus.CounterVec
	writes   *prometheus.CounterVec
}

// newMetrics registers the metrics; ready is asked at every scrape.
func newMetrics(registry prometheus.Registerer, ready func() error) *metrics {
	m := &metrics{
		notAfter: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ebbtide_placement_certificate_not_after_timestamp_seconds",
			Help: "When the served certificate expires; 0 while none is served.",
		}),
		usable: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ebbtide_placement_certificate_secret_usable",
			Help: "1 while the Secret holds a certificate that can be served, else 0.",
		}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_placement_certificate_changes_total",
			Help: "Steps of a rotation that this replica wrote to the Secret.",
		}, []string{"change"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_placement_certificate_writes_total",
			Help: "Writes of the Secret and of the caBundle, by outcome; a conflict means that another replica was faster.",
		}, []string{"object", "outcome"}),
	}
	verified := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ebbtide_placement_certificate_verified",
		Help: "1 while the served certificate verifies by the live caBundle, else 0.",
	}, func() float64 {
		if ready() != nil {
			return 0
		}
		return 1
	})
	registry.MustRegister(m.notAfter, m.usable, m.changes, m.writes, verified)
	for _, change := range Changes() {
		m.changes.WithLabelValues(string(change))
	}
	for _, object := range []string{secretObject, configurationObject} {
		for _, outcome := range []outcome{written, conflict, failed} {
			m.writes.WithLabelValues(object, string(outcome))
		}
	}
	return m
}
