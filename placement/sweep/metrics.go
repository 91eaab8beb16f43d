package sweep

import "github.com/prometheus/client_golang/prometheus"

// Metrics count what became of what was left. Make them with [NewMetrics].
type Metrics struct {
	sweeps map[Outcome]prometheus.Counter
}

// NewMetrics registers the metrics, every series at zero.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	sweeps := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_placement_sweeps_total",
		Help: "Nodes of which what a drain had left was to be taken back, since no agent would, by what became of it.",
	}, []string{"outcome"})
	registry.MustRegister(sweeps)
	m := &Metrics{sweeps: map[Outcome]prometheus.Counter{}}
	for _, outcome := range []Outcome{Swept, Changed, Failed} {
		m.sweeps[outcome] = sweeps.WithLabelValues(string(outcome))
	}
	return m
}
