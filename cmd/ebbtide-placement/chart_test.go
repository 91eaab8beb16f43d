package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ebbtide/ebbtide/cmd/internal/chartvalues"
)

func TestTheChartsValuesArePlacementsDefaults(t *testing.T) {
	t.Parallel()
	var values Config // not Default(), so that a field that is left out is seen
	chartvalues.Read(t, "placement", values.fields(), "namespace", "instance", "kubeconfig")
	if diff := cmp.Diff(Default(), values, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("configuration (-default +values of the chart):\n%s", diff)
	}
}
