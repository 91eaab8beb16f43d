//go:build linux && e2e_nodes

package nodes_test

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// clientContainers are the containers of a pod whose name begins with "client-": one
// requests a Service, the other resolves its name.
var clientContainers = []string{"fetch", "lookup"}

// awaitTries waits until each container of so many clients has made so many tries more
// than it has now.
func awaitTries(t *testing.T, cluster *nodes.Cluster, namespace string, clients, more int) {
	t.Helper()
	for _, container := range clientContainers {
		before := map[string]int{}
		for pod, all := range records(t, cluster, namespace, "client-", container) {
			if r, counted := last(all, "Counted"); counted {
				before[pod] = r.Tries
			}
		}
		await(t, container+" to go on", time.Minute, func() bool {
			now := records(t, cluster, namespace, "client-", container)
			for pod, all := range now {
				if r, counted := last(all, "Counted"); !counted || r.Tries < before[pod]+more {
					return false
				}
			}
			return len(now) == clients
		})
	}
}

// failures returns the failed tries of all clients since a moment, as text. A client of
// before it may be there sooner than its node knows of the servers.
func failures(t *testing.T, cluster *nodes.Cluster, namespace string, since time.Time) []string {
	t.Helper()
	var failed []string
	for _, container := range clientContainers {
		failed = append(failed, failuresOf(t, cluster, namespace, container, since)...)
	}
	return failed
}

// failuresOf returns the failed tries of one of the clients' containers since a moment.
func failuresOf(t *testing.T, cluster *nodes.Cluster, namespace, container string, since time.Time) []string {
	t.Helper()
	var failed []string
	for pod, all := range records(t, cluster, namespace, "client-", container) {
		for _, r := range all {
			if r.Msg == "Try failed" && !r.at.Before(since) {
				failed = append(failed, r.at.Format(time.TimeOnly)+" "+pod+" "+container+": "+r.Err)
			}
		}
	}
	return failed
}

// tries returns how many tries all clients have counted.
func tries(t *testing.T, cluster *nodes.Cluster, namespace, container string) int {
	t.Helper()
	sum := 0
	for _, all := range records(t, cluster, namespace, "client-", container) {
		if r, counted := last(all, "Counted"); counted {
			sum += r.Tries
		}
	}
	return sum
}
