//go:build linux && e2e_nodes

package nodes_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// What is installed, and as what. The version is one that no build stamps by itself.
const (
	productRepository = "ebbtide.test/ebbtide"
	productTag        = "e2e"
	productImage      = productRepository + ":" + productTag
	productVersion    = "v0.0.0-on-real-nodes"
	release           = "ebbtide" // and its namespace
)

var chartFolder = filepath.Join("..", "..", "charts", "ebbtide")

// startEbbtide starts a cluster with Ebbtide on it, and then its DNS, so that placement
// places CoreDNS from the first pod on: on a cluster that has DNS already its rescue moves
// one pod at a time, which takes minutes, and these tests are about drains.
func startEbbtide(t *testing.T, options nodes.Options) *nodes.Cluster {
	t.Helper()
	cluster := start(t, options)
	install(t, cluster)
	must(t, cluster.StartDNS(within(t, 2*time.Minute)))
	return cluster
}

// install installs the chart from the tree as its README says, and applies nothing else.
// It returns when every pod of the chart is ready and a new pod is placed.
func install(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	began := time.Now()
	helm(t, cluster, append([]string{"install", release, chartFolder, "--create-namespace"}, settings()...)...)
	awaitPlacement(t, cluster)
	t.Logf("Ebbtide is installed after %s", time.Since(began).Round(100*time.Millisecond))
}

// settings are the flags of helm install and upgrade for the image that the nodes have. values
// are laid over the chart's own as helm's --set takes them, "KEY=VALUE".
func settings(values ...string) []string {
	flags := []string{"--wait", "--timeout", "3m"}
	for _, value := range append([]string{"image.repository=" + productRepository, "image.tag=" + productTag, "image.pullPolicy=Never"}, values...) {
		flags = append(flags, "--set", value)
	}
	return flags
}

// helm runs Helm on the release's namespace and returns what it printed.
func helm(t *testing.T, cluster *nodes.Cluster, args ...string) string {
	t.Helper()
	out, err := cluster.Run(within(t, 4*time.Minute), "helm", append(args, "--namespace", release)...)
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

// awaitPlacement returns when a pod of the DNS would be placed. A ready replica has said
// so to the API server, which learns of a webhook a moment later than whoever wrote it.
func awaitPlacement(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	ctx := within(t, time.Minute)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "would-be-dns-", Labels: map[string]string{"k8s-app": "kube-dns"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "dns", Image: "none"}}},
	}
	await(t, "a pod of the DNS to be placed", time.Minute, func() bool {
		would, err := cluster.Lab().Client().CoreV1().Pods(metav1.NamespaceSystem).
			Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		must(t, err)
		return strings.Contains(would.Annotations["ebbtide.dev/placement-decision"], "Required")
	})
}
