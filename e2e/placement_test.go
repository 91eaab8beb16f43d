package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/audit"
)

// rescuing are the policies of a cluster whose auditor brings pods back.
const rescuing = `
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: dns}
spec:
  rescue: true
  match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}
---
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: edge}
spec:
  rescue: true
  match: {podSelector: {matchLabels: {tier: edge}}}
`

// workload describes a Deployment of pods that would rather be near.
type workload struct {
	name     string
	replicas int
	labels   string
	cpu      string // what each pod requests; 100m if empty
	// atLeast is the minAvailable of its disruption budget; 0 is no budget.
	atLeast int
}

func (w workload) manifest() string {
	cpu := "100m"
	if w.cpu != "" {
		cpu = w.cpu
	}
	labels := fmt.Sprintf("{app: %s, %s}", w.name, w.labels)
	text := fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s}
spec:
  replicas: %d
  selector: {matchLabels: {app: %s}}
  template:
    metadata: {labels: %s, annotations: {%s: 500ms, %s: 500ms}}
    spec:
      terminationGracePeriodSeconds: 5
      containers: [{name: main, image: none, resources: {requests: {cpu: %s}}}]
      affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: {matchExpressions: [{key: %s, operator: Exists}]}}]}}
`, w.name, w.replicas, w.name, labels, lab.ReadyAfter, lab.ExitsAfter, cpu, near)
	if w.atLeast == 0 {
		return text
	}
	return text + "---\n" + budget(w.name, w.name, "minAvailable", fmt.Sprint(w.atLeast))
}

var (
	coredns = workload{name: "coredns", replicas: 2, labels: dnsLabel + ": " + dnsApp, atLeast: 1}
	// Its budget lets none go: only a hand-over can move its pods.
	ingress = workload{name: "ingress-nginx", replicas: 2, labels: edgeLabel + ": " + edgeTier, atLeast: 2}
	// It is nobody's business.
	web = workload{name: "web", replicas: 2, labels: "tier: web"}
)

func (c *coast) scale(namespace, deployment string, replicas int) {
	c.t.Helper()
	patch := fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, replicas)
	_, err := c.Client().AppsV1().Deployments(namespace).Patch(c.t.Context(), deployment, types.MergePatchType, patch, metav1.PatchOptions{})
	c.must(err)
}

// The life of a cluster: without long-lived nodes, with them, and with them full.
func TestDNSAndIngressAreKeptOnLongLivedNodesWheneverThereAreSome(t *testing.T) {
	t.Parallel()
	c := newCoast(t, rescuing)
	c.startTwo()
	c.part("without long-lived nodes they run on spot and are reported", c.runWithoutLongLived)
	c.part("with two added they are brought back one at a time and within their budgets", c.areBroughtBack)
	c.part("new ones land there", c.landOnLongLived)
	c.part("with the nodes full every pod runs in time", c.runWithLongLivedFull)
	c.part("the program may do all that it does", c.refusedNothing)
}

// runWithoutLongLived wants the pods to run on spot nodes while there are no others,
// and to be reported.
func (c *coast) runWithoutLongLived() {
	c.t.Helper()
	c.must(c.Apply(c.t.Context(), metav1.NamespaceSystem, coredns.manifest()))
	c.must(c.Apply(c.t.Context(), c.edge, ingress.manifest()+"---"+web.manifest()))
	wants := func(pod corev1.Pod) bool { return onSpot(pod) && reason(&pod) == placement.TooFewLongLivedNodes }
	c.must(c.WaitPods(c.within(30*time.Second), metav1.NamespaceSystem, "app=coredns", allOn(wants, 2)))
	c.must(c.WaitPods(c.within(30*time.Second), c.edge, "app=ingress-nginx", allOn(wants, 2)))
	c.must(c.WaitPods(c.within(30*time.Second), c.edge, "app=web", allOn(func(pod corev1.Pod) bool { return !placed(&pod) }, 2)))
	c.unsafe("dns", 2)
	c.unsafe("edge", 2)
	c.alerts("edge", 2)
}

// areBroughtBack adds the long-lived nodes, and wants the auditor to move one pod at a
// time and never more than a budget allows.
func (c *coast) areBroughtBack() {
	c.t.Helper()
	began := time.Now()
	c.addLongLived(corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("50"),
	})
	var broken []string
	back := func(pods []corev1.Pod) bool {
		if violation := rescueRules(pods); violation != "" && len(broken) < 5 {
			broken = append(broken, violation)
		}
		return allOn(onSteady, 4)(pods)
	}
	c.must(c.WaitPods(c.within(2*time.Minute), "", "app in (coredns, ingress-nginx)", back))
	c.t.Logf("the auditor brought 4 pods back in %.1f s", time.Since(began).Seconds())
	for _, violation := range broken {
		c.t.Error(violation)
	}
	c.safe("dns")
	c.safe("edge")
	c.alerts("edge", 0)
	c.await("four hand-overs to be counted", reported, func(ctx context.Context) bool {
		return c.sum(ctx, fmt.Sprintf("ebbtide_placement_rescues_total{outcome=%q}", audit.HandedOver)) == 4
	})
}

// rescueRules says what of the pods of both workloads must not be seen while they are
// rescued, or nothing.
func rescueRules(pods []corev1.Pod) string {
	ready, handed := map[string]int{}, 0
	for _, pod := range pods {
		if lab.PodReady(pod) {
			ready[pod.Labels["app"]]++
		}
		if _, moving := pod.Labels[drain.HandedOverKey]; moving && pod.DeletionTimestamp == nil {
			handed++
		}
	}
	for _, w := range []workload{coredns, ingress} {
		if ready[w.name] < w.atLeast {
			return fmt.Sprintf("%d pods of %s were ready, while its budget asks for %d", ready[w.name], w.name, w.atLeast)
		}
	}
	if handed > 1 {
		return fmt.Sprintf("%d pods were handed over at a time", handed)
	}
	return ""
}

// sum adds up a series of all replicas; a replica that does not answer counts nothing.
func (c *coast) sum(ctx context.Context, series string) float64 {
	sum := 0.0
	for _, r := range c.replicas {
		if metrics, err := r.Metrics(ctx); err == nil {
			sum += metrics[series]
		}
	}
	return sum
}

// landOnLongLived wants every new pod on a long-lived node.
func (c *coast) landOnLongLived() {
	c.t.Helper()
	c.scale(metav1.NamespaceSystem, "coredns", 5)
	c.scale(c.edge, "ingress-nginx", 6)
	wants := func(pod corev1.Pod) bool { return onSteady(pod) && reason(&pod) == placement.EnoughLongLivedNodes }
	c.must(c.WaitPods(c.within(30*time.Second), metav1.NamespaceSystem, "app=coredns", allOn(wants, 5)))
	c.must(c.WaitPods(c.within(30*time.Second), c.edge, "app=ingress-nginx", allOn(wants, 6)))
}

// runWithLongLivedFull asks for more than the long-lived nodes can take. Those that are
// sent there in vain have to run elsewhere in time; those that come when the nodes are
// known to be full, at once.
func (c *coast) runWithLongLivedFull() {
	c.t.Helper()
	const limit = 90 * time.Second
	began := time.Now()
	burst := workload{name: "ingress-burst", replicas: 8, labels: edgeLabel + ": " + edgeTier, cpu: "1"}
	// While nothing is bound there seems to be room for each.
	c.must(c.Pause(lab.Scheduler))
	c.must(c.Apply(c.t.Context(), c.edge, burst.manifest()))
	c.must(c.WaitPods(c.within(30*time.Second), c.edge, "app=ingress-burst", func(pods []corev1.Pod) bool {
		return len(pods) == burst.replicas && !slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
			return reason(&pod) != placement.EnoughLongLivedNodes
		})
	}))
	c.must(c.Resume(lab.Scheduler))
	probe := critical(c.edge)
	probe.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	c.await("the long-lived nodes to be known to be full", 30*time.Second, func(ctx context.Context) bool {
		pod, err := c.Client().CoreV1().Pods(c.edge).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && reason(pod) == placement.TooFewLongLivedNodes
	})
	late := workload{name: "ingress-late", replicas: 2, labels: edgeLabel + ": " + edgeTier, cpu: "1"}
	created := time.Now()
	c.must(c.Apply(c.t.Context(), c.edge, late.manifest()))
	c.must(c.WaitPods(c.within(limit), c.edge, "app=ingress-late", allOn(onSpot, 2)))
	c.t.Logf("with the long-lived nodes known to be full, pods ran %.1f s after their creation", time.Since(created).Seconds())

	var last []corev1.Pod
	c.must(c.WaitPods(c.within(limit+30*time.Second), c.edge, "app=ingress-burst", func(pods []corev1.Pod) bool {
		last = pods
		return lab.AllReady(burst.replicas)(pods)
	}))
	took := time.Since(began)
	c.t.Logf("every pod that was sent there in vain ran %.1f s after its creation", took.Seconds())
	if took > limit {
		c.t.Errorf("every pod ran after %s, want %s at most", took, limit)
	}
	readmitted := 0
	for i := range last {
		if onSpot(last[i]) && reason(&last[i]) == placement.PendingBefore {
			readmitted++
		}
	}
	if readmitted == 0 {
		c.t.Errorf("no pod was admitted anew: %s", whereabouts(last))
	}
}

func whereabouts(pods []corev1.Pod) string {
	lines := make([]string, 0, len(pods))
	for i := range pods {
		lines = append(lines, fmt.Sprintf("%s on %q (%s)", pods[i].Name, pods[i].Spec.NodeName, reason(&pods[i])))
	}
	return strings.Join(lines, ", ")
}
