//go:build linux && e2e_nodes

package nodes_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/nodes"
)

func TestSmoke(t *testing.T) {
	began := time.Now()
	cluster := start(t, nodes.Options{Spot: 1, LongLived: 1})
	t.Logf("ready after %s", time.Since(began))
	must(t, cluster.StartDNS(within(t, 2*time.Minute)))
	t.Logf("dns after %s", time.Since(began))
}
