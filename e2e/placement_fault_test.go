package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"

	"github.com/ebbtide/ebbtide/e2e/placementrun"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/audit"
	"github.com/ebbtide/ebbtide/placement/webhook"
)

// reporting are the policies of a cluster whose auditor leaves pods where they are.
const reporting = `
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: dns}
spec: {match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}}
---
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: edge}
spec: {match: {podSelector: {matchLabels: {tier: edge}}}}
`

// createdWithin is how long the creation of a pod may take, whatever the webhook does.
const createdWithin = 1500 * time.Millisecond

// missed is how many pods of the edge are created during each fault, beside one of DNS.
const missed = 3

// outage is something that keeps pods from being placed, and what ends it.
type outage struct {
	name   string
	breaks func(*coast)
	mends  func(*coast)
}

// outages are the ways in which a webhook fails. What the program recovers from by
// itself, nothing else mends: replicas that hung go on, and those that start on a
// certificate that has expired sign another.
var outages = []outage{
	{"both replicas are down, and their certificate expires meanwhile", func(c *coast) {
		for _, r := range c.replicas {
			c.must(r.Kill())
		}
		c.replicas = nil
		c.installed.Front.HandTo()
		expired, err := c.installed.Expired(c.t.Context())
		c.must(err)
		c.must(c.installed.Store(c.t.Context(), expired))
	}, func(c *coast) {
		c.start()
		c.start()
		c.serve()
	}},
	{"both replicas hang", func(c *coast) {
		for _, r := range c.replicas {
			c.must(r.Pause())
		}
	}, func(c *coast) {
		for _, r := range c.replicas {
			c.must(r.Resume())
		}
	}},
	{"the host takes connections and hangs", fails(placementrun.Hanging{}), mended},
	{"the host answers with something else than TLS", fails(placementrun.Garbage{}), mended},
	{"a server with the right certificate answers garbage", func(c *coast) {
		served, err := c.installed.Served(c.t.Context())
		c.must(err)
		c.installed.Front.Fail(placementrun.Impostor{Certificate: served, Answer: "\x00garbage"})
	}, mended},
	{"the certificate is expired", func(c *coast) {
		expired, err := c.installed.Expired(c.t.Context())
		c.must(err)
		c.installed.Front.Fail(placementrun.Impostor{Certificate: expired})
	}, mended},
	{"the certificate is by the wrong CA", func(c *coast) {
		strange, err := placementrun.Strange()
		c.must(err)
		c.installed.Front.Fail(placementrun.Impostor{Certificate: strange})
	}, mended},
}

func fails(fault placementrun.Fault) func(*coast) {
	return func(c *coast) { c.installed.Front.Fail(fault) }
}

func mended(c *coast) { c.installed.Front.Mend() }

func TestPodsAreCreatedAndReportedWhateverBecomesOfTheWebhook(t *testing.T) {
	t.Parallel()
	c := newCoast(t, reporting)
	c.addLongLived(nil)
	c.startTwo()
	for _, o := range outages {
		c.part(o.name, func() { c.outlives(o) })
	}
	c.part("Events tell of every turn", c.checkTurnsAreTold)
	c.part("a caBundle that somebody edited is put right", c.putsBundleRight)
	c.part("a restart loses no pod", c.losesNothingToARestart)
	c.part("the replica that leads and serves is killed in a rollout", c.outlivesItsLeader)
	c.part("the program may do all that it does", c.refusedNothing)
}

// outlives wants pods to be created during an outage, and to be reported after it; and
// new ones to be placed again.
func (c *coast) outlives(o outage) {
	c.t.Helper()
	before := c.failedOpen()
	o.breaks(c)
	slowest := c.createsUnplaced()
	c.t.Logf("the slowest pod was created in %d ms", slowest.Milliseconds())
	for entry, count := range c.failedOpen() {
		if count <= before[entry] {
			c.t.Errorf("the API server counts no call of %q that failed", entry)
		}
	}
	o.mends(c)
	c.unsafe("edge", missed)
	c.unsafe("dns", 1)
	c.alerts("edge", missed)
	c.alerts("dns", 1)
	c.placesPods()
	c.clear()
}

// createsUnplaced creates pods of both namespaces at the same time. Each has to be
// there in time, as its author wrote it, and to run on the spot node that it prefers.
func (c *coast) createsUnplaced() (slowest time.Duration) {
	c.t.Helper()
	var group errgroup.Group
	took := make([]time.Duration, missed+1)
	for i := range took {
		namespace := c.edge
		if i == missed {
			namespace = metav1.NamespaceSystem
		}
		group.Go(func() error {
			began := time.Now()
			pod, err := c.Client().CoreV1().Pods(namespace).Create(c.t.Context(), critical(namespace), metav1.CreateOptions{})
			took[i] = time.Since(began)
			if err == nil && placed(pod) {
				return fmt.Errorf("creating pod %q: it was placed", pod.Name)
			}
			return err
		})
	}
	c.must(group.Wait())
	for _, d := range took {
		slowest = max(slowest, d)
	}
	if slowest > createdWithin {
		c.t.Errorf("a pod was created in %s, want %s at most", slowest, createdWithin)
	}
	c.must(c.WaitPods(c.within(30*time.Second), c.edge, edgeLabel+"="+edgeTier, allOn(onSpot, missed)))
	c.must(c.WaitPods(c.within(30*time.Second), metav1.NamespaceSystem, dnsLabel+"="+dnsApp, allOn(onSpot, 1)))
	return slowest
}

// clear deletes the pods, and waits until the policies are safe.
func (c *coast) clear() {
	c.t.Helper()
	for _, namespace := range []string{c.edge, metav1.NamespaceSystem} {
		c.must(c.Client().CoreV1().Pods(namespace).DeleteCollection(c.t.Context(),
			metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{}))
	}
	c.safe("edge")
	c.safe("dns")
}

// failedOpen is how often the API server let a pod through because a call of one of our
// entries failed, by entry.
func (c *coast) failedOpen() map[string]float64 {
	c.t.Helper()
	metrics, err := c.installed.APIServerMetrics(c.t.Context())
	c.must(err)
	counts := map[string]float64{}
	for _, entry := range []string{placement.EntryName, placement.SystemEntryName} {
		counts[entry] = metrics[fmt.Sprintf("apiserver_admission_webhook_fail_open_count{name=%q, type=%q}", entry, "admit")]
	}
	return counts
}

// putsBundleRight gives the entries the CA of somebody else, as an edit by hand or an
// old manifest would, and wants the program to put it right.
func (c *coast) putsBundleRight() {
	c.t.Helper()
	strange, err := placementrun.Strange()
	c.must(err)
	bundle, err := cert.EncodeCertificates(strange.Leaf)
	c.must(err)
	configurations := c.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	live, err := configurations.Get(c.t.Context(), placementrun.Configuration, metav1.GetOptions{})
	c.must(err)
	good := string(live.Webhooks[0].ClientConfig.CABundle)
	for i := range live.Webhooks {
		live.Webhooks[i].ClientConfig.CABundle = bundle
	}
	began := time.Now()
	_, err = configurations.Update(c.t.Context(), live, metav1.UpdateOptions{})
	c.must(err)
	// The stranger's CA stays beside ours for a while: it might be somebody's that still
	// serves by it.
	c.await("the caBundle to be put right", 30*time.Second, func(ctx context.Context) bool {
		live, err := configurations.Get(ctx, placementrun.Configuration, metav1.GetOptions{})
		if err != nil {
			return false
		}
		for i := range live.Webhooks {
			if !holds(live.Webhooks[i].ClientConfig.CABundle, good) {
				return false
			}
		}
		return true
	})
	c.t.Logf("it was put right in %d ms", time.Since(began).Milliseconds())
	c.placesPods()
}

// holds says whether a bundle has every certificate of another.
func holds(bundle []byte, all string) bool {
	have, err := cert.ParseCertsPEM(bundle)
	if err != nil {
		return false
	}
	want, err := cert.ParseCertsPEM([]byte(all))
	if err != nil {
		return false
	}
	known := map[string]bool{}
	for _, c := range have {
		known[string(c.Raw)] = true
	}
	for _, c := range want {
		if !known[string(c.Raw)] {
			return false
		}
	}
	return true
}

// checkTurnsAreTold wants Events that say that a policy ceased and began to be safe.
func (c *coast) checkTurnsAreTold() {
	c.t.Helper()
	for _, policy := range []string{"dns", "edge"} {
		for _, told := range []struct{ kind, reason string }{
			{corev1.EventTypeWarning, audit.PodsOnSpot}, {corev1.EventTypeNormal, audit.NoPodOnSpot},
		} {
			c.await(fmt.Sprintf("an Event that tells %s of policy %q", told.reason, policy), 10*time.Second, func(ctx context.Context) bool {
				events, err := c.Client().EventsV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
				if err != nil {
					return false
				}
				for i := range events.Items {
					e := &events.Items[i]
					if e.ReportingController == webhook.Reporter && e.Regarding.Kind == "PlacementPolicy" && e.Regarding.Name == policy &&
						e.Type == told.kind && e.Reason == told.reason {
						return true
					}
				}
				return false
			})
		}
	}
}
