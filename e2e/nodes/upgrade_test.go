//go:build linux && e2e_nodes

package nodes_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/nodes"
	"github.com/ebbtide/ebbtide/placement"
)

// nextVersion is the version of the chart that the release is upgraded to.
const nextVersion = "0.1.1-e2e"

// nobodyFeelsAnUpgrade replaces every pod of Ebbtide's twice, while requests and lookups go
// on and pods are created.
func nobodyFeelsAnUpgrade(t *testing.T, s *scene) {
	t.Helper()
	next := packageChart(t, s.cluster)
	first, openBefore := look(t, s.cluster), failedOpen(t, s.cluster)
	c := startCreating(t, s)

	helm(t, s.cluster, append([]string{"upgrade", release, next},
		settings("agent.config.log.level=debug", "placement.config.log.level=debug")...)...)
	second := look(t, s.cluster)
	second.replaces(t, "the upgrade", first)
	helm(t, s.cluster, "rollback", release, "--wait", "--timeout", "3m")
	third := look(t, s.cluster)
	third.replaces(t, "the rollback", second)
	if first.chart != third.chart || second.chart != "ebbtide-"+nextVersion {
		t.Errorf("the chart was %q, then %q, then %q; want another one only in between", first.chart, second.chart, third.chart)
	}

	c.stop(t)
	s.judgeTraffic(t)
	gaps := s.ready.gaps()
	figure(t, "Deployments without a ready pod", "0", fmt.Sprintf("%d %s", len(gaps), gaps), len(gaps) == 0)
	c.judge(t)
	open := failedOpen(t, s.cluster) - openBefore
	figure(t, "reviews that the API server went without", "0", strconv.Itoa(open), open == 0)
	same := maps.Equal(first.bundles, second.bundles) && maps.Equal(first.bundles, third.bundles)
	figure(t, "the webhook's CA", "the same all along", fmt.Sprintf("the same: %t, in %d entries", same, len(first.bundles)), same && len(first.bundles) == 2)
}

// packageChart returns the archive of the chart as a release of another version would have it.
func packageChart(t *testing.T, cluster *nodes.Cluster) string {
	t.Helper()
	folder := t.TempDir()
	helm(t, cluster, "package", chartFolder, "--version", nextVersion, "--app-version", nextVersion, "--destination", folder)
	return filepath.Join(folder, "ebbtide-"+nextVersion+".tgz")
}

// components are the chart's programs.
var components = []string{"agent", "placement"}

// installed is what an upgrade changes of a release, and what it must not.
type installed struct {
	chart   string                 // with its version, as Helm and the objects' labels say
	pods    map[string][]types.UID // by component
	bundles map[string]string      // the CAs of the webhook's entries, by name
}

func look(t *testing.T, cluster *nodes.Cluster) installed {
	t.Helper()
	client := cluster.Lab().Client()
	var releases []struct{ Chart, Status string }
	must(t, json.Unmarshal([]byte(helm(t, cluster, "list", "--output", "json")), &releases))
	agents, err := client.AppsV1().DaemonSets(release).Get(t.Context(), "ebbtide-agent", metav1.GetOptions{})
	must(t, err)
	i := installed{chart: agents.Labels["helm.sh/chart"], pods: map[string][]types.UID{}, bundles: map[string]string{}}
	if len(releases) != 1 || releases[0].Status != "deployed" || releases[0].Chart != i.chart {
		t.Fatalf("Helm knows the releases %+v, want one of chart %q, and deployed", releases, i.chart)
	}
	for _, name := range components {
		for _, pod := range component(t, cluster, name) {
			i.pods[name] = append(i.pods[name], pod.UID)
		}
	}
	configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "ebbtide-placement", metav1.GetOptions{})
	must(t, err)
	for _, entry := range configuration.Webhooks {
		i.bundles[entry.Name] = string(entry.ClientConfig.CABundle)
	}
	return i
}

// replaces fails the test unless every pod is another one than before.
func (i installed) replaces(t *testing.T, what string, before installed) {
	t.Helper()
	for _, name := range components {
		if got, want := len(i.pods[name]), len(before.pods[name]); got != want || got == 0 {
			t.Errorf("%s: component %q has %d pods, before it were %d", what, name, got, want)
		}
		for _, uid := range i.pods[name] {
			if slices.Contains(before.pods[name], uid) {
				t.Errorf("%s has left a pod of component %q as it was, and proves nothing", what, name)
			}
		}
	}
}

// failedOpen is how often the API server has let a pod through because no replica of the
// webhook answered.
func failedOpen(t *testing.T, cluster *nodes.Cluster) int {
	t.Helper()
	metrics, err := cluster.Lab().Client().CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	must(t, err)
	sum := 0
	for lines := bufio.NewScanner(bytes.NewReader(metrics)); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), "} ")
		if !strings.HasPrefix(series, "apiserver_admission_webhook_fail_open_count{") || !strings.Contains(series, ".placement.ebbtide.dev") {
			continue
		}
		n, err := strconv.Atoi(value)
		must(t, err)
		sum += n
	}
	return sum
}

// createEvery is the pace of creations.
const createEvery = 200 * time.Millisecond

// creations are pods that somebody creates all the time: of two policies, one of them in
// kube-system, which has an entry of its own, and of none.
type creations struct {
	cancel context.CancelFunc
	ended  chan struct{}
	began  time.Time

	// What follows is read when ended is closed.
	kinds   map[string]int
	failed  []string
	wrongly []string // unplaced although a policy places them, or the other way round
	slowest time.Duration
}

// startCreating begins. It goes on until stop or the test's end.
func startCreating(t *testing.T, s *scene) *creations {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &creations{cancel: cancel, ended: make(chan struct{}), began: time.Now(), kinds: map[string]int{}}
	go c.run(ctx, s)
	t.Cleanup(func() { c.stop(t) })
	return c
}

func (c *creations) stop(t *testing.T) {
	t.Helper()
	c.cancel()
	<-c.ended
}

// kinds of pods to create. No scheduler takes them, and they are deleted as soon as they
// are there: an upgrade can hurt a pod's admission only, and five pods a second on their
// way through real kubelets would leave nothing of two cores.
var kinds = []struct {
	policy, namespace string // empty: none; the scene's
	labels            map[string]string
}{
	{"ingress-nginx", "", map[string]string{"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}},
	{"dns", metav1.NamespaceSystem, map[string]string{"k8s-app": "kube-dns"}},
	{"", "", map[string]string{"app": "created"}},
}

func (c *creations) run(ctx context.Context, s *scene) {
	defer close(c.ended)
	ticker := time.NewTicker(createEvery)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		kind := kinds[i%len(kinds)]
		namespace := kind.namespace
		if namespace == "" {
			namespace = s.namespace
		}
		pods := s.cluster.Lab().Client().CoreV1().Pods(namespace)
		// One that is under way when all is over is finished, and counts.
		ctx := context.WithoutCancel(ctx)
		asked := time.Now()
		pod, err := pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "created-", Labels: kind.labels},
			Spec:       corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "c", Image: nodes.WorkloadImage}}},
		}, metav1.CreateOptions{})
		c.slowest = max(c.slowest, time.Since(asked))
		if err == nil {
			err = pods.Delete(ctx, pod.Name, *metav1.NewDeleteOptions(0))
		}
		c.count(kind.policy, asked, pod, err)
	}
}

// count takes down what became of one creation.
func (c *creations) count(policy string, asked time.Time, pod *corev1.Pod, err error) {
	c.kinds[policy]++
	if err != nil {
		c.failed = append(c.failed, fmt.Sprintf("%s: %v", asked.Format(time.TimeOnly), err))
		return
	}
	if got := placedBy(pod); got != policy {
		c.wrongly = append(c.wrongly, fmt.Sprintf("%s: by policy %q instead of %q", asked.Format(time.TimeOnly), got, policy))
	}
}

// placedBy returns the name of the policy that requires long-lived nodes of the pod; empty
// when none does.
func placedBy(pod *corev1.Pod) string {
	record, found := placement.ReadRecord(pod)
	affinity := pod.Spec.Affinity
	if !found || record.Outcome != placement.PlacedRequired || affinity == nil || affinity.NodeAffinity == nil ||
		affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	return record.Policy
}

func (c *creations) judge(t *testing.T) {
	t.Helper()
	all := 0
	for _, n := range c.kinds {
		all += n
	}
	figure(t, "failed creations of pods", "0", fmt.Sprintf("%d of %d in %s, the slowest took %s %q",
		len(c.failed), all, time.Since(c.began).Round(time.Second), c.slowest.Round(time.Millisecond), c.failed), len(c.failed) == 0 && all > 100)
	figure(t, "pods placed otherwise than a policy says", "0", fmt.Sprintf("%d of %d, by policy %v %q",
		len(c.wrongly), all, c.kinds, c.wrongly), len(c.wrongly) == 0)
}
