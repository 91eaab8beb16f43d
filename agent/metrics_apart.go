package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/drain"
)

// apartMetrics count drains of a machine that lives on: drills, and what is done on an
// advice. They are series of their own, so that no alert and no figure about real
// interruptions has to leave them out.
type apartMetrics struct {
	// rest takes what an interruption counts besides; nobody scrapes it.
	rest drainMetrics
	runs *prometheus.CounterVec
	pods *prometheus.CounterVec
}

func newDrillMetrics(registry prometheus.Registerer) apartMetrics {
	return newApartMetrics(registry,
		prometheus.CounterOpts{
			Name: "ebbtide_drills_total", Help: "Drills that ended, by outcome. No other metric of drains counts them.",
		},
		prometheus.CounterOpts{
			Name: "ebbtide_drill_pods_total", Help: "Pods that had to leave in drills, by the path they took, counted at the drill's end.",
		})
}

func newAdviceMetrics(registry prometheus.Registerer) apartMetrics {
	return newApartMetrics(registry,
		prometheus.CounterOpts{
			Name: "ebbtide_advice_followed_total",
			Help: "Advices on which critical pods were handed over, by outcome, counted when that had ended. No other metric of drains counts them.",
		},
		prometheus.CounterOpts{
			Name: "ebbtide_advice_pods_total", Help: "Pods that were to leave on an advice, by the path they took, counted when that had ended.",
		})
}

func newApartMetrics(registry prometheus.Registerer, runs, pods prometheus.CounterOpts) apartMetrics {
	m := apartMetrics{
		rest: newDrainMetrics(prometheus.NewRegistry()),
		runs: prometheus.NewCounterVec(runs, []string{"outcome"}),
		pods: prometheus.NewCounterVec(pods, []string{"path"}),
	}
	registry.MustRegister(m.runs, m.pods)
	for _, outcome := range []string{drained, incomplete} {
		m.runs.WithLabelValues(outcome)
	}
	for _, path := range drain.Paths {
		m.pods.WithLabelValues(string(path))
	}
	return m
}

// begin returns the count of the drain for notice, which is apart where the machine
// lives on.
func (m *Metrics) begin(notice Notice) *drainCount {
	switch {
	case notice.Kind == Drill:
		return m.drills.begin(notice)
	case notice.Advice != "":
		return m.advices.begin(notice)
	}
	return m.drainMetrics.begin(notice)
}

func (m *apartMetrics) begin(notice Notice) *drainCount {
	count := m.rest.begin(notice)
	count.apart = m
	return count
}

// reported counts a drain that has ended.
func (m *apartMetrics) reported(report drain.Report) {
	outcome := incomplete
	if report.Complete() {
		outcome = drained
	}
	m.runs.WithLabelValues(outcome).Inc()
	for _, pod := range report.Pods {
		m.pods.WithLabelValues(string(pod.Path)).Inc()
	}
}
