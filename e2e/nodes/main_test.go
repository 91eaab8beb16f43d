//go:build linux && e2e_nodes

package nodes_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/nodes"
)

func TestMain(m *testing.M) { nodes.Main(m) }

// within bounds one wait of a test. It is far above what an idle machine needs.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a cluster for the time of a test.
func start(t *testing.T, options nodes.Options) *nodes.Cluster {
	t.Helper()
	options.Progress = os.Stderr
	cluster, err := nodes.Start(t.Context(), options)
	must(t, err)
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Errorf("closing the cluster: %v", err)
		}
	})
	return cluster
}
