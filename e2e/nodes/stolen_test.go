//go:build linux && e2e_nodes

package nodes_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes"
	"github.com/ebbtide/ebbtide/e2e/security/stolen"
)

// aStolenTokenIsWorthItsNode reads the token of an agent's pod as root on its node can,
// and tries from elsewhere what it is good for.
func aStolenTokenIsWorthItsNode(t *testing.T, cluster *nodes.Cluster, own, other *nodes.Node) {
	t.Helper()
	pod, process := agentOn(t, cluster, own)
	path := fmt.Sprintf("/proc/%d/root/var/run/secrets/kubernetes.io/serviceaccount/token", process.PID)
	token, err := os.ReadFile(path)
	must(t, err)
	unbound, err := cluster.Lab().Client().CoreV1().ServiceAccounts(release).
		CreateToken(t.Context(), pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	thief, stranger := clientOf(t, cluster, string(token)), clientOf(t, cluster, unbound.Status.Token)
	v := layOutVictims(t, cluster, own, other)

	var wrong []string
	tried := 0
	for group, attempts := range v.Refused() {
		for name, attempt := range attempts {
			tried++
			if err := stolen.Refusal(attempt.Do(t.Context(), thief), attempt.Says); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s, %s: %v", group, name, err))
			}
		}
	}
	figure(t, "attempts with a stolen token", "all refused", fmt.Sprintf("%d of %d %q", tried-len(wrong), tried, wrong), len(wrong) == 0 && tried > 0)

	var hindered []string
	wrong = nil
	for name, ask := range v.Allowed() {
		if err := ask(t.Context(), thief); err != nil {
			hindered = append(hindered, fmt.Sprintf("%s: %v", name, err))
		}
		if err := stolen.Refusal(ask(t.Context(), stranger), stolen.ByNoNode); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", name, err))
		}
	}
	asked := len(v.Allowed())
	figure(t, "an agent's own work with that token", "all allowed", fmt.Sprintf("%d of %d %q", asked-len(hindered), asked, hindered), len(hindered) == 0)
	figure(t, "the same with a token of no node", "all refused", fmt.Sprintf("%d of %d %q", asked-len(wrong), asked, wrong), len(wrong) == 0)
}

// clientOf asks with a token, and with nothing of the administrator's.
func clientOf(t *testing.T, cluster *nodes.Cluster, token string) kubernetes.Interface {
	t.Helper()
	config := cluster.Lab().Config()
	config.BearerToken, config.UserAgent = strings.TrimSpace(token), "stolen"
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	return client
}

// victim is a pod of nobody's on a node.
const victim = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec: {nodeName: NODE, terminationGracePeriodSeconds: 5, containers: [{name: c, image: IMAGE, args: [sleep, --linger, 0s]}]}
`

// owned is a pod of a Deployment's that comes to one node only.
const owned = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {kubernetes.io/hostname: NODE}
      terminationGracePeriodSeconds: 5
      containers: [{name: c, image: IMAGE, args: [sleep, --linger, 0s]}]
`

// layOutVictims makes what the thief finds. It goes with the test.
func layOutVictims(t *testing.T, cluster *nodes.Cluster, own, other *nodes.Node) *stolen.Victims {
	t.Helper()
	namespace := cluster.Lab().Namespace(t)
	taint(t, cluster, own, stolen.Keep)
	apply(t, cluster, namespace, strings.NewReplacer("NAME", "near", "NODE", own.Name).Replace(victim))
	apply(t, cluster, namespace, strings.NewReplacer("NAME", "far", "NODE", other.Name).Replace(victim))
	apply(t, cluster, namespace, strings.ReplaceAll(owned, "NODE", own.Name))
	v := &stolen.Victims{
		Own: own.Name, Other: other.Name, Namespace: release, Release: release,
		Near: onlyPod(t, cluster, namespace, "app=near"), Far: onlyPod(t, cluster, namespace, "app=far"),
	}
	must(t, v.HandOver(t.Context(), cluster.Lab().Client(), onlyPod(t, cluster, namespace, "app=web")))
	v.Kept = onlyPod(t, cluster, namespace, "app=web,pod-template-hash")
	return v
}

// taint puts a taint on a node, which has none, for the time of the test.
func taint(t *testing.T, cluster *nodes.Cluster, node *nodes.Node, with corev1.Taint) {
	t.Helper()
	client := cluster.Lab().Client().CoreV1().Nodes()
	ctx := context.WithoutCancel(t.Context()) // it has ended when the test cleans up
	set := func(patch string) {
		_, err := client.Patch(ctx, node.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		must(t, err)
	}
	now, err := client.Get(t.Context(), node.Name, metav1.GetOptions{})
	must(t, err)
	if len(now.Spec.Taints) > 0 {
		t.Fatalf("node %s has taints already: %v", node.Name, now.Spec.Taints)
	}
	set(fmt.Sprintf(`{"spec":{"taints":[{"key":%q,"effect":%q}]}}`, with.Key, with.Effect))
	t.Cleanup(func() { set(`{"spec":{"taints":null}}`) })
}

// onlyPod waits until the one pod of a selector is Ready, and returns it.
func onlyPod(t *testing.T, cluster *nodes.Cluster, namespace, selector string) *corev1.Pod {
	t.Helper()
	var only []corev1.Pod
	must(t, cluster.Lab().WaitPods(within(t, time.Minute), namespace, selector, func(pods []corev1.Pod) bool {
		only = slices.Clone(pods)
		return lab.AllReady(1)(pods)
	}))
	return &only[0]
}
