package main

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// built is a replica that is looked at, and asks nobody. change is made to the defaults.
func built(t *testing.T, change func(*Config)) *replica {
	t.Helper()
	config := Default()
	config.Namespace, config.Instance = "ebbtide", "placement-1"
	config.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	nobody := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://nowhere.invalid'}}]\n" +
		"contexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(config.Kubeconfig, []byte(nobody), 0o600); err != nil {
		t.Fatal(err)
	}
	change(&config)
	r, err := build(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What needs a right that the chart then does not grant must not be tried.
func TestTheLeaderDoesWhatIsSwitchedOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"and that is all":          {func(*Config) {}, []string{"CRD", "admission policy", "interruptions", "sweep"}},
		"and opens no node":        {func(c *Config) { c.Audit.SweepAfter = 0 }, []string{"CRD", "admission policy", "interruptions"}},
		"and leaves the CRD alone": {func(c *Config) { c.CRDs.Upgrade = false }, []string{"admission policy", "interruptions", "sweep"}},
		"also without a webhook":   {func(c *Config) { c.Mode = AdmissionPolicy }, []string{"CRD", "admission policy", "interruptions", "sweep"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := built(t, c.change)
			if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(r.auditor.WhileLeading))); diff != "" {
				t.Errorf("works (-want +got):\n%s", diff)
			}
		})
	}
}
