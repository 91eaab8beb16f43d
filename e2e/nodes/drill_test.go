//go:build linux && e2e_nodes

package nodes_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/ebbtide/ebbtide/agent/drill"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// drilled are the pods of the node: some that may go at once, one that is replaced first,
// and one whose budget never opens.
const drilled = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: free}
spec:
  replicas: 3
  selector: {matchLabels: {app: free}}
  template:
    metadata: {labels: {app: free}}
    spec:
      containers: [{name: main, image: IMAGE, args: [sleep, --linger, 2s]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: single}
spec: {minAvailable: 1, selector: {matchLabels: {app: single}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: single}
spec:
  replicas: 1
  selector: {matchLabels: {app: single}}
  template:
    metadata: {labels: {app: single}}
    spec:
      containers: [{name: main, image: IMAGE, args: [sleep, --linger, 2s]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: closed}
spec: {minAvailable: 1, selector: {matchLabels: {app: closed}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: closed}
spec:
  serviceName: closed
  replicas: 1
  selector: {matchLabels: {app: closed}}
  template:
    metadata: {labels: {app: closed}}
    spec:
      containers: [{name: main, image: IMAGE, args: [sleep, --linger, 2s]}]
`

// drilledPaths is what becomes of them in a drill, by app.
var drilledPaths = map[string]map[drain.Path]int{
	"free": {drain.Evicted: 3}, "single": {drain.HandedOver: 1}, "closed": {drain.Spared: 1},
}

// aDrillIsOrderedByExec orders drills as docs/drill.md says: by kubectl exec.
func aDrillIsOrderedByExec(t *testing.T, cluster *nodes.Cluster, node *nodes.Node) {
	t.Helper()
	namespace := cluster.Lab().Namespace(t)
	fenceAround(t, cluster, node, true)
	apply(t, cluster, namespace, drilled)
	must(t, cluster.Lab().WaitPods(within(t, time.Minute), namespace, "", lab.AllReady(5)))
	fenceAround(t, cluster, node, false)
	pod, process := agentOn(t, cluster, node)
	socket, err := os.Lstat(fmt.Sprintf("/proc/%d/root/run/ebbtide/drill.sock", process.PID))
	must(t, err)
	figure(t, "mode of the drill's socket", "0600", fmt.Sprintf("%#o, a socket: %t", socket.Mode().Perm(), socket.Mode().Type() == fs.ModeSocket), socket.Mode() == fs.ModeSocket|0o600)

	nodeBefore, podsBefore := looksOf(t, cluster, node), uidsOf(t, cluster, namespace)
	plan, code := order(t, cluster, pod, "--notice", "60s", "--dry-run")
	listed := strings.Count(plan, "  Evict  ")
	untouched := cmp.Diff(nodeBefore, looksOf(t, cluster, node)) + cmp.Diff(podsBefore, uidsOf(t, cluster, namespace))
	figure(t, "a dry run of a drill", "exit 0, 5 pods, none touched", fmt.Sprintf("exit %d, %d pods %s", code, listed, untouched),
		code == 0 && listed == 5 && untouched == "")

	began := time.Now()
	told, code := order(t, cluster, pod, "--notice", "60s")
	t.Logf("what it printed:\n%s", told)
	took := time.Since(began)
	paths := pathsOf(t, cluster, pod)
	figure(t, "a drill of 60 s with one pod that may not go", "exit 3 within 60 s, it alone stays",
		fmt.Sprintf("exit %d after %.0f s, %v", code, took.Seconds(), paths), code == 3 && took < time.Minute && cmp.Equal(paths, drilledPaths))
	for _, line := range []string{"planned: 5 pods", "node cordoned", "closed-0 is still here (Spared)", "node put back"} {
		if !strings.Contains(told, line) {
			t.Errorf("the drill did not print %q", line)
		}
	}
	back := cmp.Diff(nodeBefore, looksOf(t, cluster, node))
	figure(t, "what a drill leaves of itself on the node", "nothing", "a difference of "+strconv.Itoa(len(back))+" characters "+back, back == "")
	must(t, cluster.Lab().WaitPods(within(t, time.Minute), namespace, "", lab.AllReady(5)))
	if now := uidsOf(t, cluster, namespace); now["closed-0"] != podsBefore["closed-0"] {
		t.Error("the pod that may not go is another one than before the drill")
	}
}

// order runs "ebbtide-agent drill" in an agent's container as kubectl exec does, and
// returns what it printed and its exit code.
func order(t *testing.T, cluster *nodes.Cluster, pod corev1.Pod, args ...string) (stdout string, code int) {
	t.Helper()
	request := cluster.Lab().Client().CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Command: append([]string{"/ebbtide-agent", "drill"}, args...), Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(cluster.Lab().Config(), http.MethodGet, request.URL().String())
	must(t, err)
	var out, complaints bytes.Buffer
	err = executor.StreamWithContext(within(t, 2*time.Minute), remotecommand.StreamOptions{Stdout: &out, Stderr: &complaints})
	if exit, ended := errors.AsType[utilexec.CodeExitError](err); ended {
		return out.String(), exit.Code
	}
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("ordering a drill: %v; it printed %q and %q", err, &out, &complaints)
	}
	return out.String(), 0
}

// pathsOf asks the agent for its last drill once more, and counts what became of the pods.
func pathsOf(t *testing.T, cluster *nodes.Cluster, pod corev1.Pod) map[string]map[drain.Path]int {
	t.Helper()
	text, _ := order(t, cluster, pod, "--attach", "-o", "json")
	var result drill.Result
	must(t, json.Unmarshal([]byte(text), &result))
	if result.Outcome != drill.LeftPods || !result.PutBack || result.Report == nil {
		t.Fatalf("the drill came to %s", text)
	}
	paths := map[string]map[drain.Path]int{}
	for _, one := range result.Report.Pods {
		app, _, _ := strings.Cut(one.Name, "-")
		if paths[app] == nil {
			paths[app] = map[drain.Path]int{}
		}
		paths[app][one.Path]++
	}
	return paths
}

// looks are what a drill changes on a node and has to put back.
type looks struct {
	Unschedulable       bool
	Taints              []corev1.Taint
	Labels, Annotations map[string]string
}

func looksOf(t *testing.T, cluster *nodes.Cluster, node *nodes.Node) looks {
	t.Helper()
	now, err := cluster.Lab().Client().CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
	must(t, err)
	return looks{now.Spec.Unschedulable, now.Spec.Taints, now.Labels, now.Annotations}
}

// uidsOf returns the pods of a namespace by name.
func uidsOf(t *testing.T, cluster *nodes.Cluster, namespace string) map[string]types.UID {
	t.Helper()
	list, err := cluster.Lab().Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	uids := map[string]types.UID{}
	for _, pod := range list.Items {
		uids[pod.Name] = pod.UID
	}
	return uids
}
