package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/placement"
)

// Failure says why a pod was let through without a decision. The values are stable:
// they are metric labels.
type Failure string

// The failures.
const (
	// NotReady: the policies, namespaces or nodes are not known yet.
	NotReady Failure = "NotReady"
	// UnknownNamespace: the pod's namespace is newer than what is known.
	UnknownNamespace Failure = "UnknownNamespace"
	// Unreadable: what was sent is no review of a pod.
	Unreadable Failure = "Unreadable"
	// TooLarge: it is longer than any pod that can be stored.
	TooLarge Failure = "TooLarge"
	// Unexpected: it is the review of something else than the creation of a pod.
	Unexpected Failure = "Unexpected"
	// Panicked: there is a mistake in Ebbtide; the log has the stack.
	Panicked Failure = "Panicked"
	// Unencodable: the patch or the answer could not be written as JSON.
	Unencodable Failure = "Unencodable"
)

// failures are all of them, for the metric.
var failures = []Failure{NotReady, UnknownNamespace, Unreadable, TooLarge, Unexpected, Panicked, Unencodable}

// Metrics count what the handler answers. Make them with [NewMetrics].
type Metrics struct {
	decisions map[placement.Reason]prometheus.Counter
	failures  map[Failure]prometheus.Counter
	duration  prometheus.Observer
}

// NewMetrics registers the handler's metrics, every series at zero.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_placement_decisions_total",
		Help: "Decisions about pods that were being created, by what was done and why. A pod that another webhook changes is decided about again; dry runs are not counted.",
	}, []string{"outcome", "reason"})
	failed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ebbtide_placement_failures_total",
		Help: "Reviews that no decision was made about, by why. The pod was let through as it was.",
	}, []string{"reason"})
	duration := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "ebbtide_placement_review_duration_seconds",
		Help: "How long the answer to a review took, from its first byte to the last of the answer.",
		// A millisecond is slow for the answer itself; what is more comes with the network.
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .1, 1},
	})
	registry.MustRegister(decisions, failed, duration)
	m := &Metrics{
		decisions: map[placement.Reason]prometheus.Counter{}, failures: map[Failure]prometheus.Counter{}, duration: duration,
	}
	for _, reason := range placement.Reasons() {
		m.decisions[reason] = decisions.WithLabelValues(string(reason.Outcome()), string(reason))
	}
	for _, failure := range failures {
		m.failures[failure] = failed.WithLabelValues(string(failure))
	}
	return m
}

func (m *Metrics) decided(decision placement.Decision) { m.decisions[decision.Reason].Inc() }

func (m *Metrics) failed(failure Failure) { m.failures[failure].Inc() }

func (m *Metrics) took(duration time.Duration) { m.duration.Observe(duration.Seconds()) }
