package interruptions

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestEverySeriesIsThereFromTheStart(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	count := 0
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			count++
			if value := metric.GetCounter().GetValue() + metric.GetGauge().GetValue(); value != 0 {
				t.Errorf("%s begins at %v", family.GetName(), value)
			}
		}
	}
	if want := 2*len(kinds) + len(outcomes) + len(paths) + len(advicePaths) + 2; count != want {
		t.Errorf("there are %d series, want %d", count, want)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint says %v, %v", problems, err)
	}
	// Whatever a memory may say can be counted.
	for reason, fact := range podFacts {
		if m.counters[fact.Subject][fact.Value] == nil {
			t.Errorf("nothing counts %s", reason)
		}
	}
	for reason, outcome := range drainOutcomes {
		if m.counters[Drain][outcome] == nil {
			t.Errorf("nothing counts %s", reason)
		}
	}
}
