package main

import (
	"testing"

	"github.com/ebbtide/ebbtide/cmd/internal/configpage"
	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

func TestThePageOfTheConfigurationSaysWhatTheAgentReads(t *testing.T) {
	t.Parallel()
	configpage.Hold(t, configpage.Program{
		Name: "agent",
		Fresh: func() settings.Program {
			config := Default()
			return program(&config)
		},
		Without: map[string]string{
			"nodeName": "The node that the agent looks after. It has to be given; the chart gives it.",
			"kubeconfig": "A file that says how to reach the API server. Empty means the service account of the pod, " +
				"which is what the chart uses.",
		},
	}, *update)
}
