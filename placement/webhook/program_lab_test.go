package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyv1 "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

const registrationName = "ebbtide-placement"

// replica is one running webhook, as the program puts it together.
type replica struct {
	memory   *Memory
	registry *prometheus.Registry
	endpoint endpoint
}

func apiOf(t testing.TB, l *lab.Lab) client.Client {
	t.Helper()
	api, err := NewClient(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// startReplica runs a webhook against the lab for the time of the test.
func startReplica(t testing.TB, l *lab.Lab, at *endpoint) *replica {
	t.Helper()
	log, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	informers, err := NewCache(l.Config(), registrationName)
	if err != nil {
		t.Fatal(err)
	}
	api := apiOf(t, l)
	memory := NewMemory(placement.Rules{}, log)
	events := NewEvents(api, "replica", registry, log)
	r := &replica{memory: memory, registry: registry}
	r.endpoint = serve(t, &Handler{Cluster: memory, Metrics: NewMetrics(registry), Listener: events, Log: log})
	if at == nil {
		at = &r.endpoint
	}
	registration := NewRegistration(api, registrationName, placement.EntryOptions{
		OwnNamespace: "ebbtide", Client: admissionregistrationv1.WebhookClientConfig{URL: &at.url},
	}, registry, log)
	memory.OnPolicies = registration.Want

	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	for _, watch := range []func(context.Context) error{
		func(ctx context.Context) error { return memory.Watch(ctx, informers) },
		func(ctx context.Context) error { return registration.Watch(ctx, informers) },
	} {
		if err := watch(ctx); err != nil {
			stop()
			t.Fatal(err)
		}
	}
	runs := []func(context.Context) error{informers.Start, memory.Run, registration.Run, events.Run}
	done := make(chan error, len(runs))
	for _, run := range runs {
		go func() { done <- run(ctx) }()
	}
	t.Cleanup(func() {
		stop()
		for range runs {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

// publish writes the caBundle as whoever keeps the certificates does: that field of
// each entry, and nothing else.
func publish(t testing.TB, l *lab.Lab, bundle []byte) {
	t.Helper()
	configuration := applyv1.MutatingWebhookConfiguration(registrationName)
	for _, name := range []string{placement.EntryName, placement.SystemEntryName} {
		configuration.WithWebhooks(applyv1.MutatingWebhook().WithName(name).
			WithClientConfig(applyv1.WebhookClientConfig().WithCABundle(bundle...)))
	}
	if err := apiOf(t, l).Apply(t.Context(), configuration, client.FieldOwner("ebbtide-placement-certificate"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
}

func entriesOf(t testing.TB, l *lab.Lab) *admissionregistrationv1.MutatingWebhookConfiguration {
	t.Helper()
	live, err := l.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), registrationName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// awaitEntries waits until the entries that the API server has are as they should be.
func awaitEntries(t testing.TB, l *lab.Lab, what string, is func([]admissionregistrationv1.MutatingWebhook) bool) {
	t.Helper()
	placementtest.Await(t, "the entries: "+what, func(ctx context.Context) error {
		live, err := l.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, registrationName, metav1.GetOptions{})
		if err == nil && !is(live.Webhooks) {
			return fmt.Errorf("they are %s", placementtest.JSON(t, live.Webhooks))
		}
		return err
	})
}

const programPolicies = `
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: dns}
spec: {match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}}
---
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: ingress}
spec: {match: {owners: [{kind: Deployment, name: ingress-*}]}}
`

func deployment(name, label string, replicas int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s}
spec:
  replicas: %d
  selector: {matchLabels: {k8s-app: %s}}
  template:
    metadata: {labels: {k8s-app: %s}}
    spec: {containers: [{name: main, image: "example.com/app:1"}]}`, name, replicas, label, label)
}

// The whole of it: two replicas, a cluster of spot and long-lived nodes, and the pods
// that everything leans on.
func TestDNSAndIngressLandOnLongLivedNodes(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	placementtest.InstallCRD(t, l)
	if err := l.Apply(t.Context(), "", programPolicies); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		spec := lab.NodeSpec{Name: fmt.Sprint("spot-", i), Labels: map[string]string{"karpenter.sh/capacity-type": "spot"}}
		if i >= 3 {
			spec = lab.NodeSpec{Name: fmt.Sprint("steady-", i)}
		}
		l.Node(t, spec)
	}
	first := startReplica(t, l, nil)
	second := startReplica(t, l, &first.endpoint)
	for _, r := range []*replica{first, second} {
		placementtest.Await(t, "the cluster to be known", func(context.Context) error { return r.memory.Ready() })
	}
	awaitEntries(t, l, "two of them", func(live []admissionregistrationv1.MutatingWebhook) bool { return len(live) == 2 })
	publish(t, l, first.endpoint.caBundle)
	edge := l.Namespace(t)
	until(t, l.Client(), labPod(t, metav1.NamespaceSystem, "metadata: {labels: {k8s-app: kube-dns}}"), placed)
	until(t, l.Client(), labPod(t, edge, "metadata: {annotations: {ebbtide.dev/placement: long-lived}}"), placed)

	for namespace, manifest := range map[string]string{
		metav1.NamespaceSystem: deployment("coredns", "kube-dns", 3), edge: deployment("ingress-nginx", "ingress", 4),
	} {
		if err := l.Apply(t.Context(), namespace, manifest); err != nil {
			t.Fatal(err)
		}
	}
	checkLanded(t, l, metav1.NamespaceSystem, "k8s-app=kube-dns", 3)
	checkLanded(t, l, edge, "k8s-app=ingress", 4)
	checkEvents(t, l, edge)
	checkSettles(t, l, first, second)
}

func checkLanded(t *testing.T, l *lab.Lab, namespace, selector string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), placementtest.Within)
	defer cancel()
	err := l.WaitPods(ctx, namespace, selector, func(pods []corev1.Pod) bool {
		return lab.AllReady(n)(pods) && !slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
			record, _ := placement.ReadRecord(&pod)
			return !strings.HasPrefix(pod.Spec.NodeName, "steady-") || record.Reason != placement.EnoughLongLivedNodes
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// checkEvents wants an Event about a contradiction, and none about a dry run of one.
func checkEvents(t *testing.T, l *lab.Lab, namespace string) {
	t.Helper()
	spot := func(name string) *corev1.Pod {
		return labPod(t, namespace, `
metadata: {name: `+name+`, annotations: {ebbtide.dev/placement: long-lived}}
spec: {nodeSelector: {karpenter.sh/capacity-type: spot}}`)
	}
	pods := l.Client().CoreV1().Pods(namespace)
	if _, err := pods.Create(t.Context(), spot("rehearsed"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Create(t.Context(), spot("created"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var about []string
	placementtest.Await(t, "the Event", func(ctx context.Context) error {
		events, err := l.Client().EventsV1().Events(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		about = nil
		for _, event := range events.Items {
			if event.ReportingController == Reporter {
				about = append(about, event.Regarding.Kind+" "+event.Regarding.Name+" "+event.Reason)
			}
		}
		if len(about) == 0 {
			return fmt.Errorf("none of %d Events is ours", len(events.Items))
		}
		return nil
	})
	// They are written in the order of the decisions: one about the dry run would be there.
	if diff := cmp.Diff([]string{"Pod created Contradiction"}, about); diff != "" {
		t.Errorf("Events (-want +got):\n%s", diff)
	}
}

// checkSettles takes the entries through what may happen to them.
func checkSettles(t *testing.T, l *lab.Lab, replicas ...*replica) {
	t.Helper()
	before := entriesOf(t, l)
	configurations := l.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	edited := before.DeepCopy()
	edited.Webhooks[0].FailurePolicy = new(admissionregistrationv1.Fail)
	if _, err := configurations.Update(t.Context(), edited, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitEntries(t, l, "the edited one mended", func(live []admissionregistrationv1.MutatingWebhook) bool {
		return cmp.Equal(before.Webhooks, live)
	})
	dns := &v1alpha1.PlacementPolicy{ObjectMeta: metav1.ObjectMeta{Name: "dns"}}
	if err := apiOf(t, l).Delete(t.Context(), dns); err != nil {
		t.Fatal(err)
	}
	awaitEntries(t, l, "conditions that follow the policies", func(live []admissionregistrationv1.MutatingWebhook) bool {
		return !cmp.Equal(before.Webhooks[1].MatchConditions, live[1].MatchConditions) && len(live[1].ClientConfig.CABundle) > 0
	})
	for _, r := range replicas {
		if failed := counts(t, r.registry)["registrations Failed"]; failed > 0 {
			t.Errorf("%v writes of a replica failed", failed)
		}
	}
}
