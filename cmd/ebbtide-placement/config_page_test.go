package main

import (
	"testing"

	"github.com/ebbtide/ebbtide/cmd/internal/configpage"
	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

func TestThePageOfTheConfigurationSaysWhatPlacementReads(t *testing.T) {
	t.Parallel()
	configpage.Hold(t, configpage.Program{
		Name: "placement",
		Fresh: func() settings.Program {
			config := Default()
			return program(&config)
		},
		Without: map[string]string{
			"namespace": "Where the Service, the Secret and the Lease are. It has to be given; the chart gives it.",
			"instance": "The name of this replica in the election of a leader and in Events. Empty means the name of the host. " +
				"At most 128 bytes; the chart gives the pod's name.",
			"kubeconfig": "A file that says how to reach the API server. Empty means the service account of the pod, " +
				"which is what the chart uses.",
		},
	}, *update)
}
