//go:build linux && e2e_nodes

package nodes_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/e2e/nodes"
)

var hold = flag.Bool("hold", false, "run no test: start a node, describe it on stdout and wait to be killed")

func TestMain(m *testing.M) {
	flag.Parse()
	if *hold {
		nodes.Main(holder{}, nodes.Preparation{})
	}
	nodes.Main(m, nodes.Preparation{
		Products: []nodes.Product{{Name: productImage, Version: productVersion}},
		Programs: []nodes.Program{{Module: "tools", Package: "helm.sh/helm/v4/cmd/helm"}},
	})
}

// held is what the helper process says of its cluster.
type held struct {
	Dir  string
	PIDs []int
}

// holder is the helper process: it owns a cluster until it is killed.
type holder struct{}

func (holder) Run() int {
	err := func() error {
		cluster, err := nodes.Start(context.Background(), nodes.Options{Spot: 1, Progress: os.Stderr})
		if err != nil {
			return err
		}
		processes, err := cluster.Node("spot-1").Processes()
		if err != nil {
			return err
		}
		h := held{Dir: filepath.Dir(os.TempDir())}
		for _, p := range processes {
			h.PIDs = append(h.PIDs, p.PID)
		}
		if err := json.NewEncoder(os.Stdout).Encode(h); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	}()
	fmt.Fprintln(os.Stderr, "the holder was not killed:", err)
	return 1
}

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

// start starts a cluster for the time of a test. When the test has failed, the logs are in
// out/e2e.
func start(t *testing.T, options nodes.Options) *nodes.Cluster {
	t.Helper()
	options.Progress = os.Stderr
	cluster, err := nodes.Start(t.Context(), options)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			if err := cluster.SaveLogs(filepath.Join("..", "..", "out", "e2e", t.Name())); err != nil {
				t.Error(err)
			}
		}
		if err := cluster.Close(); err != nil {
			t.Errorf("closing the cluster: %v", err)
		}
	})
	return cluster
}

// await asks until it is true: neither a log nor the operating system's tables can be
// watched through an API.
func await(t *testing.T, what string, limit time.Duration, done func() bool) {
	t.Helper()
	deadline := time.After(limit)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited %s in vain for %s", limit, what)
		}
	}
}

// record is a line that e2e/nodes/workload has logged.
type record struct {
	Msg, Err        string
	Tries, Failures int
	at              time.Time
}

// records returns what the containers of a name have logged, by pod, over all pods whose
// names begin with a prefix.
func records(t *testing.T, cluster *nodes.Cluster, namespace, prefix, container string) map[string][]record {
	t.Helper()
	logs, err := cluster.Logs(namespace)
	must(t, err)
	found := map[string][]record{}
	for _, log := range logs {
		if log.Container != container || !strings.HasPrefix(log.Pod, prefix) {
			continue
		}
		for _, line := range log.Lines {
			r := record{at: line.At}
			must(t, json.Unmarshal([]byte(line.Text), &r))
			found[log.Pod] = append(found[log.Pod], r)
		}
	}
	return found
}

// last returns the last record of a message, and whether there is one.
func last(all []record, message string) (record, bool) {
	for _, r := range slices.Backward(all) {
		if r.Msg == message {
			return r, true
		}
	}
	return record{}, false
}

func ready(node *corev1.Node) corev1.ConditionStatus {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status
		}
	}
	return corev1.ConditionUnknown
}
