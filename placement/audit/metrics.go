package audit

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// What became of the deletion of a pod that waited, as the label "outcome".
const (
	// deleted: its controller makes another.
	deleted = "Deleted"
	// changed: it was bound, or somebody wrote it, in the same moment; it was left alone.
	changed = "Changed"
	// failed: the API server refused, or did not answer.
	failed = "Failed"
)

// Metrics tell what the audits of one replica find. Every replica looks and counts the
// same pods, so that a query takes the maximum and not the sum. Make them with
// [NewMetrics].
type Metrics struct {
	success        prometheus.Gauge
	leading        prometheus.Gauge
	readmissions   map[string]prometheus.Counter
	rescues        map[Moved]prometheus.Counter
	spotDaemonSets prometheus.Gauge
	pods           *podCounts
}

// NewMetrics registers the metrics, every series at zero. Those of a policy begin with
// the policy and end with it.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	success := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ebbtide_placement_audit_last_success_timestamp_seconds",
		Help: "When the pods were last audited; 0 when never. While this is old, ebbtide_placement_pods says nothing.",
	})
	leading := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ebbtide_placement_leader", Help: "1 on the replica that acts on what the audits find, else 0.",
	})
	readmissions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_placement_readmissions_total",
		Help: "Pods that were to be deleted because our requirement alone kept them Pending, by what became of it.",
	}, []string{"outcome"})
	rescues := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_placement_rescues_total", Help: "Pods that were to be moved off a spot node, by how it ended.",
	}, []string{"outcome"})
	spotDaemonSets := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ebbtide_placement_spot_daemonsets",
		Help: "DaemonSets that a policy matches and that run on spot nodes only, on the replica that leads; else 0.",
	})
	m := &Metrics{
		success: success, leading: leading, spotDaemonSets: spotDaemonSets,
		readmissions: map[string]prometheus.Counter{}, rescues: map[Moved]prometheus.Counter{}, pods: newPodCounts(),
	}
	registry.MustRegister(success, leading, readmissions, rescues, spotDaemonSets, m.pods)
	for _, outcome := range []string{deleted, changed, failed} {
		m.readmissions[outcome] = readmissions.WithLabelValues(outcome)
	}
	for _, outcome := range moves {
		m.rescues[outcome] = rescues.WithLabelValues(string(outcome))
	}
	return m
}

// podCounts collects where the pods of each policy are, as last found. The names of the
// policies are the one label that is not ours to choose; there are as many as the user
// has made, and a series goes with its policy.
type podCounts struct {
	description *prometheus.Desc

	mu       sync.Mutex
	findings []PolicyFinding
}

func newPodCounts() *podCounts {
	return &podCounts{description: prometheus.NewDesc("ebbtide_placement_pods",
		"Running and pending pods that a policy governs, by where they are.", []string{"policy", "where"}, nil)}
}

func (c *podCounts) found(findings []PolicyFinding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.findings = slices.Clone(findings)
}

// Describe implements [prometheus.Collector].
func (c *podCounts) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- c.description }

// Collect implements [prometheus.Collector].
func (c *podCounts) Collect(metrics chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.findings {
		f := &c.findings[i]
		onSpot := len(f.OnSpot)
		for where, count := range map[string]int{
			"OnSpot": onSpot, "Pending": int(f.Pending), "LongLived": int(f.Pods-f.Pending) - onSpot,
		} {
			metrics <- prometheus.MustNewConstMetric(c.description, prometheus.GaugeValue, float64(count), f.Name, where)
		}
	}
}
