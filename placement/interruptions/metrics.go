package interruptions

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count what has become certain while this replica led: a query takes the sum
// of all replicas. Make them with [NewMetrics].
type Metrics struct {
	counters map[Subject]map[string]prometheus.Counter
	watched  prometheus.Gauge
}

// NewMetrics registers the metrics, every series at zero. Labels have the values that
// the agent's own metrics give them, so that both can be compared.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		counters: map[Subject]map[string]prometheus.Counter{},
		watched: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ebbtide_interruptions_watched",
			Help: "1 on the leader while it counts interruptions from Nodes and Events, else 0.",
		}),
	}
	registry.MustRegister(m.watched)
	vector := func(subject Subject, name, help, label string, values []string) {
		counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		registry.MustRegister(counter)
		m.counters[subject] = map[string]prometheus.Counter{}
		for _, value := range values {
			m.counters[subject][value] = counter.WithLabelValues(value)
		}
	}
	vector(Interruption, "ebbtide_interruptions_total",
		"Interruptions that nodes came under, by kind, as Nodes and Events tell.", "kind", kinds)
	vector(Drain, "ebbtide_interruptions_drains_total",
		"Drains for interruptions that are over, by the outcome that an Event told; Unreported when none has come in time.", "outcome", outcomes)
	vector(Pod, "ebbtide_interruptions_pods_total",
		"Pods that were told to leave interrupted nodes, by the path that Events told; Evicted has those that agents count as Clamped.", "path", paths)
	vector(Advice, "ebbtide_interruptions_advices_total",
		"Advices that nodes came under, which are no interruptions, by kind, as Nodes tell.", "kind", kinds)
	vector(AdvicePod, "ebbtide_interruptions_advice_pods_total",
		"Pods that were told to leave on an advice, by the path that Events told.", "path", advicePaths)
	shortened := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "ebbtide_interruptions_graces_shortened_total",
		Help: "Pods that were told to leave interrupted nodes with less than their own grace, as Events told.",
	})
	registry.MustRegister(shortened)
	m.counters[ShortenedGrace] = map[string]prometheus.Counter{"": shortened}
	return m
}

// count counts a fact.
func (m *Metrics) count(fact Fact) {
	m.counters[fact.Subject][fact.Value].Add(float64(fact.Count))
}
