package audit

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// gathered are the metrics of one replica.
type gathered struct {
	t        *testing.T
	registry prometheus.Gatherer
}

// value is that of the series of a metric with the labels' values.
func (g gathered) value(metric string, labels ...string) float64 {
	g.t.Helper()
	return placementtest.Metric(g.t, g.registry, metric, labels...)
}

// awaitRescue waits until one rescue has ended so.
func (g gathered) awaitRescue(end Moved) {
	g.t.Helper()
	placementtest.Await(g.t, "a rescue to end", func(context.Context) error {
		if ends := g.value(rescuesTotal, string(end)); ends != 1 {
			return fmt.Errorf("%.0f have ended with %s", ends, end)
		}
		return nil
	})
}
