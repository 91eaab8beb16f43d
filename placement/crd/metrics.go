package crd

import "github.com/prometheus/client_golang/prometheus"

// What became of an upgrade, as the label "outcome".
const (
	upgradeApplied = "Applied"
	upgradeFailed  = "Failed"
)

type metrics struct{ upgrades map[string]prometheus.Counter }

// newMetrics registers the metrics, every series at zero.
func newMetrics(registry prometheus.Registerer) *metrics {
	upgrades := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_placement_crd_upgrades_total",
		Help: "Upgrades of the CRD of the policies to the one that the program was built with, by what became of them.",
	}, []string{"outcome"})
	registry.MustRegister(upgrades)
	m := &metrics{upgrades: map[string]prometheus.Counter{}}
	for _, outcome := range []string{upgradeApplied, upgradeFailed} {
		m.upgrades[outcome] = upgrades.WithLabelValues(outcome)
	}
	return m
}
