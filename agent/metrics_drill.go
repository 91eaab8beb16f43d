package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/drain"
)

// drillMetrics count drills. They are series of their own, so that no alert and no
// figure about real interruptions has to leave them out.
type drillMetrics struct {
	// apart takes what a drain counts and a drill does not; nobody scrapes it.
	apart  drainMetrics
	drills *prometheus.CounterVec
	pods   *prometheus.CounterVec
}

func newDrillMetrics(registry prometheus.Registerer) drillMetrics {
	m := drillMetrics{
		apart: newDrainMetrics(prometheus.NewRegistry()),
		drills: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_drills_total", Help: "Drills that ended, by outcome. No other metric of drains counts them.",
		}, []string{"outcome"}),
		pods: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbtide_drill_pods_total", Help: "Pods that had to leave in drills, by the path they took, counted at the drill's end.",
		}, []string{"path"}),
	}
	registry.MustRegister(m.drills, m.pods)
	for _, outcome := range []string{drained, incomplete} {
		m.drills.WithLabelValues(outcome)
	}
	for _, path := range drain.Paths {
		m.pods.WithLabelValues(string(path))
	}
	return m
}

// begin returns the count of the drain for notice, which is apart for a drill.
func (m *Metrics) begin(notice Notice) *drainCount {
	if notice.Kind != Drill {
		return m.drainMetrics.begin(notice)
	}
	count := m.drills.apart.begin(notice)
	count.drill = &m.drills
	return count
}

// reported counts a drill that has ended.
func (m *drillMetrics) reported(report drain.Report) {
	outcome := incomplete
	if report.Complete() {
		outcome = drained
	}
	m.drills.WithLabelValues(outcome).Inc()
	for _, pod := range report.Pods {
		m.pods.WithLabelValues(string(pod.Path)).Inc()
	}
}
