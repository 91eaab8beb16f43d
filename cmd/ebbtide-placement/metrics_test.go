package main

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/ebbtide/ebbtide/cmd/internal/metricspage"
)

var update = flag.Bool("update", false, "write what the program is into docs/metrics.md and docs/configuration.md")

func TestThePageOfMetricsSaysWhatPlacementServes(t *testing.T) {
	t.Parallel()
	config := Default()
	config.Namespace, config.Instance = "ebbtide", "placement-1"
	config.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	nobody := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://nowhere.invalid'}}]\n" +
		"contexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(config.Kubeconfig, []byte(nobody), 0o600); err != nil {
		t.Fatal(err)
	}
	replica, err := build(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	metricspage.Hold(t, "placement", *update, replica.registry)
}
