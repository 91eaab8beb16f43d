//go:build linux && e2e_nodes

package nodes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes"
	"github.com/ebbtide/ebbtide/e2e/nodes/machine"
)

// theControlPlaneReachesPods goes the ways that the API server goes: to a pod's address,
// as for a webhook, and through a kubelet, as for logs and exec.
func theControlPlaneReachesPods(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	namespace := cluster.Lab().Namespace(t)
	apply(t, cluster, namespace, `
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  nodeName: long-lived-2
  containers: [{name: serve, image: IMAGE, args: [serve], readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}]
`)
	must(t, cluster.Lab().WaitPods(within(t, time.Minute), namespace, "", lab.AllReady(1)))
	pods := cluster.Lab().Client().CoreV1().Pods(namespace)
	pod, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
	must(t, err)
	if body, err := get(t.Context(), "http://"+pod.Status.PodIP+":8080/"); err != nil || body != "web\n" {
		t.Errorf("asking the pod at its address: %q, %v, want its name", body, err)
	}

	request := cluster.Lab().Client().CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name("web").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"/workload", "prestop", "--linger", "0s"}, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(cluster.Lab().Config(), http.MethodGet, request.URL().String())
	must(t, err)
	var stdout, stderr bytes.Buffer
	if err := executor.StreamWithContext(within(t, time.Minute), remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		t.Fatalf("running a command in the container: %v, it said %q and %q", err, &stdout, &stderr)
	}
	log, err := pods.GetLogs("web", &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil || !strings.Contains(string(log), "Hook ended") {
		t.Errorf("log by the API: %v, %q, want what the command wrote", err, log)
	}
}

func get(ctx context.Context, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return "", err
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("asking %q: %s", address, response.Status)
	}
	return string(body), err
}

// prometheusSettings name their targets in a file: Debian builds its Prometheus without
// the discovery of pods.
const prometheusSettings = `
global: {scrape_interval: 1s}
scrape_configs:
- {job_name: coredns, file_sd_configs: [{files: [targets.json]}]}
`

// aPrometheusSeesPods starts one on a machine of its own, from which it asks pods at
// their addresses.
func aPrometheusSeesPods(t *testing.T, cluster *nodes.Cluster) {
	t.Helper()
	pods, err := cluster.Lab().Client().CoreV1().Pods("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
	must(t, err)
	var targets []string
	for _, pod := range pods.Items {
		targets = append(targets, pod.Status.PodIP+":9153")
	}
	encoded, err := json.Marshal([]map[string]any{{"targets": targets}})
	must(t, err)
	watcher, err := cluster.StartMachine(within(t, time.Minute), "prometheus", []machine.Service{{
		Name: "prometheus",
		Args: []string{"prometheus", "--config.file=/srv/settings/prometheus.yml", "--storage.tsdb.path=/var/lib/prometheus"},
	}}, map[string][]byte{"targets.json": encoded, "prometheus.yml": []byte(prometheusSettings)})
	must(t, err)
	settings, err := watcher.Disk("/srv/settings/prometheus.yml")
	must(t, err)
	if out, err := cluster.Run(t.Context(), "promtool", "check", "config", settings); err != nil {
		t.Errorf("promtool: %v, %q", err, out)
	}
	query := fmt.Sprintf("http://%s:9090/api/v1/query?%s", watcher.Address(), url.Values{"query": {`sum(up{job="coredns"})`}}.Encode())
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	await(t, "Prometheus to see both pods of CoreDNS", time.Minute, func() bool {
		body, err := get(t.Context(), query)
		if err != nil {
			return false // not up yet
		}
		must(t, json.Unmarshal([]byte(body), &answer))
		return len(answer.Data.Result) == 1 && answer.Data.Result[0].Value[1] == "2"
	})
}
