package admission

import "github.com/prometheus/client_golang/prometheus"

// What became of a write, as the label "outcome".
const (
	writeApplied = "Applied"
	writeFailed  = "Failed"
)

// How a trial has ended, as the label "outcome".
const (
	// trialPassed: every sample pod came to what Decide says.
	trialPassed = "Passed"
	// trialFailed: one did not, or the API server refused the policy. There is a mistake
	// in Ebbtide, or in the API server.
	trialFailed = "Failed"
	// trialInconclusive: it could not be held to its end.
	trialInconclusive = "Inconclusive"
)

type metrics struct {
	inForce prometheus.Gauge
	writes  map[string]prometheus.Counter
	trials  map[string]prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	inForce := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ebbtide_placement_admission_policy_in_force",
		Help: "1 on the leader while the MutatingAdmissionPolicy in force is what the policies ask for, else 0.",
	})
	writes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_placement_admission_policy_writes_total",
		Help: "Writes of the MutatingAdmissionPolicy and its binding, by what became of them.",
	}, []string{"outcome"})
	trials := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_placement_admission_policy_trials_total",
		Help: "Trials of a MutatingAdmissionPolicy before it was bound, by how they ended.",
	}, []string{"outcome"})
	registry.MustRegister(inForce, writes, trials)
	m := &metrics{inForce: inForce, writes: map[string]prometheus.Counter{}, trials: map[string]prometheus.Counter{}}
	for _, outcome := range []string{writeApplied, writeFailed} {
		m.writes[outcome] = writes.WithLabelValues(outcome)
	}
	for _, outcome := range []string{trialPassed, trialFailed, trialInconclusive} {
		m.trials[outcome] = trials.WithLabelValues(outcome)
	}
	return m
}
