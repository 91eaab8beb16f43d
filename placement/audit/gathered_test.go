package audit

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// gathered are the metrics of one replica.
type gathered struct {
	t        *testing.T
	registry prometheus.Gatherer
}

// value is that of the series of a metric with the labels' values, in the order of
// their names.
func (g gathered) value(metric string, labels ...string) float64 {
	g.t.Helper()
	families, err := g.registry.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, family := range families {
		for _, series := range family.GetMetric() {
			var values []string
			for _, label := range series.GetLabel() {
				values = append(values, label.GetValue())
			}
			if family.GetName() == metric && slices.Equal(values, labels) {
				return series.GetCounter().GetValue() + series.GetGauge().GetValue()
			}
		}
	}
	g.t.Fatalf("there is no series %s with %q", metric, labels)
	return 0
}
