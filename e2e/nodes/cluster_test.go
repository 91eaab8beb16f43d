//go:build linux && e2e_nodes

package nodes_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// One cluster serves the parts of this test, in their order: the last takes a node away.
func TestRealNodes(t *testing.T) {
	began := time.Now()
	cluster := start(t, nodes.Options{Spot: 3, LongLived: 2})
	t.Logf("5 nodes are Ready after %s", time.Since(began).Round(100*time.Millisecond))
	must(t, cluster.StartDNS(within(t, 2*time.Minute)))
	reportMemory(t, cluster)

	t.Run("Nodes look like a cloud's", func(t *testing.T) { nodesLookLikeAClouds(t, cluster) })
	t.Run("Pods of every node reach a Service by its name", func(t *testing.T) { podsReachAService(t, cluster) })
	t.Run("Each node asks its own metadata service, and nothing else is there", func(t *testing.T) { metadataIsTheNodes(t, cluster) })
	t.Run("The control plane reaches pods and kubelets", func(t *testing.T) { theControlPlaneReachesPods(t, cluster) })
	t.Run("A Prometheus sees pods", func(t *testing.T) { aPrometheusSeesPods(t, cluster) })
	t.Run("A pod's log outlives the pod", func(t *testing.T) { logsOutlivePods(t, cluster) })
	t.Run("Pods outlive a restart of their kubelet", func(t *testing.T) { podsOutliveTheirKubelet(t, cluster) })
	t.Run("Traffic outlives the API server", func(t *testing.T) { trafficOutlivesTheAPIServer(t, cluster) })
	t.Run("A reclaimed node takes its pods along", func(t *testing.T) { aReclaimedNodeTakesItsPodsAlong(t, cluster) })

	began = time.Now()
	must(t, cluster.Close())
	t.Logf("all of it is gone after %s", time.Since(began).Round(100*time.Millisecond))
	if out, err := exec.CommandContext(t.Context(), "ip", "-brief", "link").Output(); err != nil || strings.Count(string(out), "\n") != 1 {
		t.Errorf("network devices after the end: %v, %q, want the loopback device only", err, out)
	}
}

func reportMemory(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	for _, node := range cluster.Nodes() {
		processes, err := node.Processes()
		must(t, err)
		var sum int64
		for _, p := range processes {
			sum += p.Proportional
		}
		t.Logf("%s: %d processes, %d MiB", node.Name, len(processes), sum>>20)
	}
}

func nodesLookLikeAClouds(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	list, err := cluster.Lab().Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	must(t, err)
	got, providers := map[string]string{}, map[string]bool{}
	for _, node := range list.Items {
		got[node.Name] = node.Labels["karpenter.sh/capacity-type"]
		providers[node.Spec.ProviderID] = true
	}
	want := map[string]string{
		"spot-1": "spot", "spot-2": "spot", "spot-3": "spot", "long-lived-1": "on-demand", "long-lived-2": "on-demand",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("capacity of nodes (-want +got):\n%s", diff)
	}
	if len(providers) != len(want) || providers[""] {
		t.Errorf("provider ids = %v, want one for each node", providers)
	}
}

// traffic is a server and a client on every node. The client asks the Service, so that
// its requests go to all nodes.
const traffic = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: serve, image: IMAGE, args: [serve], readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      containers:
      - {name: fetch, image: IMAGE, args: [fetch, --url, "http://web.NAMESPACE.svc.cluster.local./", --every, 50ms]}
      - {name: lookup, image: IMAGE, args: [lookup, --name, "web.NAMESPACE.svc.cluster.local.", --every, 50ms]}
`

func apply(t *testing.T, cluster *nodes.Cluster, namespace, manifest string) {
	t.Helper()
	text := strings.NewReplacer("IMAGE", nodes.WorkloadImage, "NAMESPACE", namespace).Replace(manifest)
	must(t, cluster.Lab().Apply(t.Context(), namespace, text))
}

// startTraffic returns when every client has made some hundred tries, and since when every
// failure counts: those of the first seconds may fail, since a client can be there before its
// node knows of the servers.
func startTraffic(t *testing.T, cluster *nodes.Cluster) (namespace string, since time.Time) {
	t.Helper()
	namespace = cluster.Lab().Namespace(t)
	web, client, _ := strings.Cut(traffic, "---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: client}")
	apply(t, cluster, namespace, web)
	must(t, cluster.Lab().WaitPods(within(t, 2*time.Minute), namespace, "app=web", lab.AllReady(5)))
	apply(t, cluster, namespace, "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: client}"+client)
	must(t, cluster.Lab().WaitPods(within(t, 2*time.Minute), namespace, "app=client", lab.AllReady(5)))
	awaitTries(t, cluster, namespace, 5, 100)
	return namespace, time.Now()
}

func podsReachAService(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	namespace, since := startTraffic(t, cluster)
	awaitTries(t, cluster, namespace, 5, 100)
	if failed := failures(t, cluster, namespace, since); len(failed) > 0 {
		t.Errorf("%d tries failed: %q", len(failed), failed)
	}
}

// metadataIsTheNodes lets a pod ask for the address that the agent asks, and this
// process's kernel where it would send such a question.
func metadataIsTheNodes(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	namespace := cluster.Lab().Namespace(t)
	must(t, cluster.Node("spot-2").Interrupt(t.Context(), 10*time.Minute))
	apply(t, cluster, namespace, `
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec:
  nodeName: spot-1
  containers: [{name: fetch, image: IMAGE, args: [fetch, --url, "`+aws.DefaultEndpoint+`/latest/meta-data/"]}]
`)
	await(t, "spot-1's metadata service to be asked", time.Minute, func() bool {
		status, err := cluster.Node("spot-1").Metadata(t.Context())
		must(t, err)
		return len(status.Requests) > 0 && status.NoticeReadableAt.IsZero()
	})
	status, err := cluster.Node("spot-2").Metadata(t.Context())
	must(t, err)
	if len(status.Requests) > 0 || status.NoticeReadableAt.IsZero() {
		t.Errorf("spot-2's metadata service: %+v, want a notice that nobody asked for", status)
	}
	host := strings.TrimPrefix(aws.DefaultEndpoint, "http://")
	out, err := exec.CommandContext(t.Context(), "ip", "route", "get", host).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "unreachable") {
		t.Errorf("this process's route to the metadata address: %v, %q, want none", err, out)
	}
}

func logsOutlivePods(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	namespace := cluster.Lab().Namespace(t)
	apply(t, cluster, namespace, `
apiVersion: v1
kind: Pod
metadata: {name: slow}
spec:
  terminationGracePeriodSeconds: 30
  containers:
  - name: sleep
    image: IMAGE
    args: [sleep, --linger, 1s]
    lifecycle: {preStop: {exec: {command: [/workload, prestop, --linger, 2s]}}}
`)
	must(t, cluster.Lab().WaitPods(within(t, time.Minute), namespace, "", lab.AllReady(1)))
	must(t, cluster.Lab().Client().CoreV1().Pods(namespace).Delete(t.Context(), "slow", metav1.DeleteOptions{}))
	must(t, cluster.Lab().WaitPods(within(t, time.Minute), namespace, "", func(pods []corev1.Pod) bool { return len(pods) == 0 }))
	var messages []string
	for _, r := range records(t, cluster, namespace, "slow", "sleep")["slow"] {
		messages = append(messages, r.Msg)
	}
	want := []string{"Started", "Hook began", "Hook ended", "Was told to stop", "Ended"}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("the pod's log (-want +got):\n%s", diff)
	}
}

func programs(t *testing.T, node *nodes.Node) map[string][]int {
	t.Helper()
	processes, err := node.Processes()
	must(t, err)
	found := map[string][]int{}
	for _, p := range processes {
		found[p.Program] = append(found[p.Program], p.PID)
	}
	return found
}

func podsOutliveTheirKubelet(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	namespace, since := startTraffic(t, cluster)
	node := cluster.Node("spot-2")
	before := programs(t, node)
	must(t, node.RestartKubelet(within(t, time.Minute)))
	awaitTries(t, cluster, namespace, 5, 100)
	after := programs(t, node)
	if diff := cmp.Diff(before["workload"], after["workload"]); diff != "" {
		t.Errorf("processes of pods (-before +after):\n%s", diff)
	}
	// The binary's name, cut by the kernel: kube-proxy runs from the same file.
	if name := "ebbtide-lab-nod"; cmp.Equal(before[name], after[name]) || len(after[name]) != 2 {
		t.Errorf("kubelet and kube-proxy: processes %v, then %v, want another kubelet", before[name], after[name])
	}
	if failed := failures(t, cluster, namespace, since); len(failed) > 0 {
		t.Errorf("%d tries failed: %q", len(failed), failed)
	}
}

func trafficOutlivesTheAPIServer(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	namespace, since := startTraffic(t, cluster)
	must(t, cluster.LoseAPIServer(t.Context(), 3*time.Second))
	if _, err := cluster.Lab().Client().CoreV1().Namespaces().Get(within(t, time.Minute), namespace, metav1.GetOptions{}); err != nil {
		t.Errorf("the API server after its return: %v", err)
	}
	awaitTries(t, cluster, namespace, 5, 20)
	if failed := failures(t, cluster, namespace, since); len(failed) > 0 {
		t.Errorf("%d tries failed: %q", len(failed), failed)
	}
}

func aReclaimedNodeTakesItsPodsAlong(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	namespace := cluster.Lab().Namespace(t)
	apply(t, cluster, namespace, `
apiVersion: v1
kind: Pod
metadata: {name: victim}
spec:
  nodeName: spot-3
  containers: [{name: fetch, image: IMAGE, args: [fetch, --url, "http://10.200.0.13:1339/status"]}]
`)
	must(t, cluster.Lab().WaitPods(within(t, time.Minute), namespace, "", lab.AllReady(1)))
	node := cluster.Node("spot-3")
	pids := programs(t, node)["workload"]
	if len(pids) == 0 {
		t.Fatal("no process of a pod was found on the node")
	}
	const notice = 5 * time.Second
	told := time.Now()
	must(t, node.Reclaim(t.Context(), notice))
	<-node.Gone()
	if lasted := node.DiedAt().Sub(told); lasted < notice || lasted > notice+2*time.Second {
		t.Errorf("the node died %s after its notice of %s", lasted, notice)
	}
	for _, pid := range pids {
		if alive(t, pid) {
			t.Errorf("process %d of a pod outlived its node", pid)
		}
	}
	all := records(t, cluster, namespace, "victim", "fetch")["victim"]
	if _, told := last(all, "Ended"); told || len(all) == 0 {
		t.Errorf("the log of the pod that died with its node: %+v, want one that breaks off", all)
	}
	// The API server is not told: it notices that nobody reports any more.
	must(t, cluster.Lab().WaitNode(within(t, 2*time.Minute), "spot-3", func(n *corev1.Node) bool { return ready(n) == corev1.ConditionUnknown }))
	must(t, cluster.Lab().WaitNode(within(t, time.Minute), "spot-1", func(n *corev1.Node) bool { return ready(n) == corev1.ConditionTrue }))
}
