package main

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbtide/ebbtide/agent/provider"
	"github.com/ebbtide/ebbtide/cmd/internal/metricspage"
)

var update = flag.Bool("update", false, "write what the program is into docs/metrics.md and docs/configuration.md")

func TestThePageOfMetricsSaysWhatTheAgentServes(t *testing.T) {
	t.Parallel()
	var registries []*prometheus.Registry
	for _, name := range provider.All {
		config := Default()
		config.NodeName, config.Kubeconfig, config.Provider = "node-1", kubeconfigOfNobody(t), name
		config.Cluster.Enabled = true
		built, err := build(config, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := built.settle(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		registries = append(registries, built.registry)
	}
	metricspage.Hold(t, "agent", *update, registries...)
}

func TestARehearsalServesNoMetricOfEvents(t *testing.T) {
	t.Parallel()
	config := Default()
	config.NodeName, config.Kubeconfig, config.DryRun = "node-1", kubeconfigOfNobody(t), true
	built, err := build(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	families, err := built.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "ebbtide_events_total" {
			t.Error("a rehearsal would write Events")
		}
	}
}

// kubeconfigOfNobody returns a file that leads to no API server.
func kubeconfigOfNobody(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://nowhere.invalid'}}]\n" +
		"contexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
