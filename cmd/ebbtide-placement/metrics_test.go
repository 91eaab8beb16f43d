package main

import (
	"flag"
	"testing"

	"github.com/ebbtide/ebbtide/cmd/internal/metricspage"
)

var update = flag.Bool("update", false, "write what the program is into docs/metrics.md and docs/configuration.md")

func TestThePageOfMetricsSaysWhatPlacementServes(t *testing.T) {
	t.Parallel()
	metricspage.Hold(t, "placement", *update, built(t, func(*Config) {}).registry)
}
