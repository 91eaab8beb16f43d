//go:build linux && e2e_nodes

package nodes_test

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// What goes wrong in this test does so all at once, as it does in life: one node is taken
// back that has a pod behind a budget, one at short notice whose pod nobody may move, the
// agent of a third sees nothing, and the webhook is out of reach while an ingress
// controller is rolled out.
func TestAlertsOutliveTheNodesTheyAreAbout(t *testing.T) {
	cluster := startEbbtide(t, nodes.Options{Spot: 3, LongLived: 2})
	p := startPrometheus(t, cluster)
	s := &incident{cluster: cluster, prometheus: p, causes: map[string]time.Time{}}
	s.prepare(t)

	t.Run("Nothing is told of while nothing happens", s.nothingIsToldOf)
	s.strike(t)
	t.Run("All that happens is told of", s.allIsToldOf)
	t.Run("What was never scraped is told of", s.whatWasNeverScrapedIsToldOf)
	t.Run("What is mended is told of no more", s.whatIsMendedIsToldOfNoMore)
	t.Run("Nothing else is told of", s.nothingElseIsToldOf)
	t.Run("The dashboard shows it", s.theDashboardShowsIt)
	t.Run("The runbooks ask what can be answered", s.theRunbooksAskWhatCanBeAnswered)
}

// incident is what this test is about.
type incident struct {
	cluster    *nodes.Cluster
	prometheus *prometheus
	// movable and guarded are namespaces.
	movable, guarded string
	// causes says when it became true what an alert tells.
	causes map[string]time.Time
}

// movableWork is for spot-1: the scheduler puts it there if it can, and elsewhere when
// spot-1 is cordoned. The budget of the database never opens.
const movableWork = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [PREFERENCE]}}
      containers: [{name: sleep, image: IMAGE, args: [sleep, --linger, 1s]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: database}
spec:
  serviceName: database
  selector: {matchLabels: {app: database}}
  template:
    metadata: {labels: {app: database}}
    spec:
      terminationGracePeriodSeconds: 30
      affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [PREFERENCE]}}
      containers: [{name: sleep, image: IMAGE, args: [sleep, --linger, 1s]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: database}
spec: {minAvailable: 1, selector: {matchLabels: {app: database}}}
`

// guardedWork is for spot-2. An admission policy of somebody else's lets no agent move it,
// and so it goes down with its machine.
const guardedWork = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: guarded}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [DELETE], resources: [pods]}
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods/eviction]}
  validations: [{expression: "request.userInfo.username != 'system:serviceaccount:ebbtide:ebbtide-agent'"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: guarded}
spec:
  policyName: guarded
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded}
spec:
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded}}
    spec:
      affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [PREFERENCE]}}
      containers: [{name: sleep, image: IMAGE, args: [sleep, --linger, 1s]}]
`

// criticalWork is for spot-3, where the chart's own policy for it would not let it go.
const criticalWork = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress}
spec:
  replicas: 2
  selector: {matchLabels: &labels {app.kubernetes.io/name: ingress-nginx, app.kubernetes.io/component: controller}}
  template:
    metadata: {labels: *labels}
    spec:
      affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [PREFERENCE]}}
      containers: [{name: sleep, image: IMAGE, args: [sleep, --linger, 1s]}]
`

const criticalSelector = "app.kubernetes.io/name=ingress-nginx"

// prepare puts everything in its place. Prometheus has scraped everything once by then, so
// that it sees what is counted from now on.
func (s *incident) prepare(t *testing.T) {
	t.Helper()
	for job, targets := range map[string]float64{"ebbtide/ebbtide-agent": 5, "ebbtide/ebbtide-placement": 2, "apiserver": 1} {
		await(t, "Prometheus to scrape "+job, time.Minute, func() bool {
			return s.prometheus.value(t.Context(), fmt.Sprintf("sum(up{job=%q})", job)) == targets
		})
	}
	s.movable, s.guarded = s.cluster.Lab().Namespace(t), s.cluster.Lab().Namespace(t)
	s.run(t, s.movable, movableWork, "", "spot-1", 7)
	s.run(t, s.guarded, guardedWork, "", "spot-2", 1)
}

// run applies work that prefers a node and returns when so many pods run on that node.
func (s *incident) run(t *testing.T, namespace, work, selector, node string, pods int) {
	t.Helper()
	preference := "{weight: 100, preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [" + node + "]}]}}"
	apply(t, s.cluster, namespace, strings.ReplaceAll(work, "PREFERENCE", preference))
	must(t, s.cluster.Lab().WaitPods(within(t, time.Minute), namespace, selector, func(all []corev1.Pod) bool {
		return lab.AllReady(pods)(all) && !slices.ContainsFunc(all, func(pod corev1.Pod) bool { return pod.Spec.NodeName != node })
	}))
}

// nothingIsToldOf looks at a whole minute, in which every rule is evaluated four times.
func (s *incident) nothingIsToldOf(t *testing.T) {
	const everything = `min(count_over_time(up[1m])) >= bool 4`
	await(t, "a minute of scrapes", 2*time.Minute, func() bool { return s.prometheus.value(t.Context(), everything) == 1 })
	if all := s.prometheus.alerts(t); len(all) > 0 {
		t.Errorf("alerts that are pending or fire: %+v", all)
	}
	if seen, err := s.prometheus.query(t.Context(), `count by (alertname) (count_over_time(ALERTS[10m]))`); err != nil || len(seen) > 0 {
		t.Errorf("alerts that were pending or fired: %+v, %v", seen, err)
	}
}

// strike lets everything go wrong.
func (s *incident) strike(t *testing.T) {
	t.Helper()
	s.causes["EbbtideAgentBlind"] = time.Now()
	must(t, s.cluster.Node("spot-3").Fault(t.Context(), awstest.ConnectionRefused))

	s.route(t, "nobody")
	s.awaitDecision(t, false)
	s.causes["EbbtideWebhookUnreachable"] = time.Now()
	s.run(t, s.movable, criticalWork, criticalSelector, "spot-3", 2)
	s.causes["EbbtideCriticalPodsOnSpot"] = time.Now()
	await(t, "Prometheus to know that pods were let through", time.Minute, func() bool {
		return s.prometheus.value(t.Context(), `sum(apiserver_admission_webhook_fail_open_count{name="pods.placement.ebbtide.dev"})`) > 0
	})

	// The database wants 30 s, and 5 s of two minutes are kept in reserve: it is deleted past
	// its budget 85 s after the notice.
	s.causes["EbbtideInterruptionEvictions"] = time.Now()
	s.causes["EbbtideEvictionPastBudget"] = time.Now().Add(85 * time.Second)
	must(t, s.cluster.Node("spot-1").Reclaim(t.Context(), 2*time.Minute))

	const notice = 30 * time.Second
	s.awaitEndBeforeScrape(t, "spot-2", notice)
	must(t, s.cluster.Node("spot-2").Reclaim(t.Context(), notice))
	s.causes["EbbtideDrainIncomplete"] = time.Now().Add(notice)
}

// awaitEndBeforeScrape returns at a moment from which the end of a notice is six seconds
// before a scrape of the node's agent. An agent knows three seconds before the end of a
// short notice that a pod is lost: the last scrape has been six seconds before, and the
// next one comes too late.
func (s *incident) awaitEndBeforeScrape(t *testing.T, node string, notice time.Duration) {
	t.Helper()
	const before = 6 * time.Second
	scraped := s.prometheus.value(t.Context(), fmt.Sprintf(`timestamp(up{job="ebbtide/ebbtide-agent", node=%q})`, node))
	if math.IsNaN(scraped) {
		t.Fatalf("Prometheus does not scrape the agent of %s", node)
	}
	seconds, part := math.Modf(scraped)
	moment := time.Unix(int64(seconds), int64(part*1e9)).Add(-before - notice)
	for time.Until(moment) < 0 {
		moment = moment.Add(s.prometheus.every)
	}
	await(t, "the moment between two scrapes", 2*s.prometheus.every, func() bool { return !time.Now().Before(moment) })
}

// route lets the webhook's Service lead to pods of a component, as a mistaken change of
// it would. Placement itself goes on.
func (s *incident) route(t *testing.T, component string) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec": {"selector": {"app.kubernetes.io/component": %q}}}`, component)
	_, err := s.cluster.Lab().Client().CoreV1().Services(release).
		Patch(t.Context(), "ebbtide-placement", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	must(t, err)
}

// awaitDecision returns when an ingress controller that was created now would be placed, or
// would not.
func (s *incident) awaitDecision(t *testing.T, want bool) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "would-be-", Labels: map[string]string{
			"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller",
		}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "controller", Image: "none"}}},
	}
	await(t, fmt.Sprintf("a pod to be placed: %v", want), time.Minute, func() bool {
		would, err := s.cluster.Lab().Client().CoreV1().Pods(s.movable).
			Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		must(t, err)
		return (would.Annotations["ebbtide.dev/placement-decision"] != "") == want
	})
}

// told is what an alert has to say: labels beside its own name, and a description.
type told struct {
	labels      map[string]string
	description string
}

// tells are the alerts of this incident, in the order in which they fire.
var tells = []struct {
	name string
	// within is how long it may take: a scrape, an evaluation and the alert's own patience,
	// what it takes to be certain where a machine has died, and half a minute for a machine
	// that is busy with five nodes.
	within time.Duration
	want   told
}{
	{"EbbtideInterruptionEvictions", time.Minute, told{
		map[string]string{"severity": "info"},
		`^In the last ten minutes [0-9]+\.[0-9] pods a minute were told to leave nodes that the cloud takes back\.$`,
	}},
	{"EbbtideAgentBlind", 150 * time.Second, told{
		map[string]string{"severity": "critical", "node": "spot-3", "namespace": release},
		`^The agent ebbtide-agent-[a-z0-9]+ at [0-9.]+:9808, node spot-3, has read one of its sources for the last time [0-9ms. ]+ ago\. A notice would come unseen\.$`,
	}},
	{"EbbtideWebhookUnreachable", 150 * time.Second, told{
		map[string]string{"severity": "critical"},
		`^Pods are let through as they are, and may come to run on spot nodes\.$`,
	}},
	{"EbbtideEvictionPastBudget", time.Minute, told{
		map[string]string{"severity": "warning"},
		`^Pods that were deleted at their latest moment .* had let them go: 1\.$`,
	}},
	{"EbbtideDrainIncomplete", 2 * time.Minute, told{
		map[string]string{"severity": "warning"},
		`^Drains of the last 15 minutes that have left pods behind, or have ended without a word: 1\. Pods may have gone down with their machine\.$`,
	}},
	{"EbbtideCriticalPodsOnSpot", 3 * time.Minute, told{
		map[string]string{"severity": "warning", "policy": "ingress-nginx"},
		`^Pods that the PlacementPolicy ingress-nginx governs, and that run on spot nodes: 2\.$`,
	}},
}

func (s *incident) allIsToldOf(t *testing.T) {
	for _, tell := range tells {
		limit := max(0, tell.within-time.Since(s.causes[tell.name]))
		await(t, tell.name+" to fire", limit, func() bool { return len(s.prometheus.firing(t, tell.name)) > 0 })
	}
	for _, node := range []string{"spot-1", "spot-2"} {
		<-s.cluster.Node(node).Gone()
		await(t, "Prometheus to know that "+node+" is gone", time.Minute, func() bool {
			return s.prometheus.value(t.Context(), fmt.Sprintf(`up{node=%q}`, node)) == 0
		})
	}
	for _, tell := range tells {
		fired := s.prometheus.firing(t, tell.name)
		if len(fired) != 1 {
			t.Errorf("%s fires %d times when the nodes are gone, want once: %+v", tell.name, len(fired), fired)
			continue
		}
		for label, value := range tell.want.labels {
			if got := fired[0].Labels[label]; got != value {
				t.Errorf("the %s of %s is %q, want %q", label, tell.name, got, value)
			}
		}
		if got := fired[0].Annotations["description"]; !regexp.MustCompile(tell.want.description).MatchString(got) {
			t.Errorf("%s says %q, want %s", tell.name, got, tell.want.description)
		}
		took := s.firedAfter(t, tell.name)
		figure(t, tell.name+" fires", "within "+tell.within.String(), took.String(), took <= tell.within)
	}
}

// firedAfter is how long an alert took to fire, to a second. Prometheus tells of an alert
// a moment before it has stored that.
func (s *incident) firedAfter(t *testing.T, name string) time.Duration {
	t.Helper()
	var all []series
	await(t, "the series of "+name, time.Minute, func() bool {
		var err error
		all, err = s.prometheus.since(t.Context(), fmt.Sprintf(`ALERTS{alertname=%q, alertstate="firing"}`, name), time.Second)
		must(t, err)
		return len(all) > 0
	})
	return all[0].Values[0].at.Sub(s.causes[name]).Round(time.Second)
}

// The agent's own count died with its machine, a few seconds old. If it had been scraped,
// this test would show nothing.
func (s *incident) whatWasNeverScrapedIsToldOf(t *testing.T) {
	const scraped = `max_over_time(ebbtide_drains_total{outcome="Incomplete", node="spot-2"}[10m])`
	if got := s.prometheus.value(t.Context(), scraped); got != 0 {
		t.Errorf("the most that the agent of spot-2 was seen to count is %v, want 0", got)
	}
}

// whatIsMendedIsToldOfNoMore does what the runbooks say.
func (s *incident) whatIsMendedIsToldOfNoMore(t *testing.T) {
	must(t, s.cluster.Node("spot-3").Fault(t.Context(), ""))
	s.route(t, "placement")
	s.awaitDecision(t, true)
	must(t, s.cluster.Lab().Client().CoreV1().Pods(s.movable).
		DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: criticalSelector}))
	for _, name := range []string{"EbbtideAgentBlind", "EbbtideCriticalPodsOnSpot"} {
		await(t, name+" to fire no more", time.Minute, func() bool { return len(s.prometheus.firing(t, name)) == 0 })
	}
}

func (s *incident) nothingElseIsToldOf(t *testing.T) {
	var want, got []string
	for _, tell := range tells {
		want = append(want, tell.name)
	}
	all, err := s.prometheus.query(t.Context(), `count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1h]))`)
	must(t, err)
	for _, one := range all {
		got = append(got, one.Metric["alertname"])
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts (-want +fired):\n%s", diff)
	}
}
