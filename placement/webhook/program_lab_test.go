package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	applyv1 "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement"
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
	api, err := client.New(l.Config(), client.Options{Scheme: NewScheme()})
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

// applyCRD installs the CRD and waits until it is served.
func applyCRD(t testing.TB, l *lab.Lab) {
	t.Helper()
	manifest, err := os.ReadFile("../../charts/ebbtide/crds/placement.ebbtide.dev_placementpolicies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Apply(t.Context(), "", string(manifest)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the API server to serve the CRD", func(context.Context) (bool, error) {
		_, err := l.Client().Discovery().ServerResourcesForGroupVersion("placement.ebbtide.dev/v1alpha1")
		return err == nil, nil
	})
}

func waitFor(t testing.TB, what string, done func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, startWithin, true, done); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
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
	applyCRD(t, l)
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
		waitFor(t, "the cluster to be known", func(context.Context) (bool, error) { return r.memory.Ready() == nil, nil })
	}
	waitFor(t, "the entries", func(ctx context.Context) (bool, error) {
		live, err := l.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, registrationName, metav1.GetOptions{})
		return err == nil && len(live.Webhooks) == 2, nil
	})
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
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
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
	waitFor(t, "the Event", func(ctx context.Context) (bool, error) {
		events, err := l.Client().EventsV1().Events(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		about = nil
		for _, event := range events.Items {
			if event.ReportingController == reporter {
				about = append(about, event.Regarding.Kind+" "+event.Regarding.Name+" "+event.Reason)
			}
		}
		return len(about) > 0, nil
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
	waitFor(t, "an edited entry to be mended", func(ctx context.Context) (bool, error) {
		live, err := configurations.Get(ctx, registrationName, metav1.GetOptions{})
		return err == nil && cmp.Equal(before.Webhooks, live.Webhooks), err
	})
	dns := &v1alpha1.PlacementPolicy{ObjectMeta: metav1.ObjectMeta{Name: "dns"}}
	if err := apiOf(t, l).Delete(t.Context(), dns); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the conditions to follow the policies", func(ctx context.Context) (bool, error) {
		live, err := configurations.Get(ctx, registrationName, metav1.GetOptions{})
		return err == nil && !cmp.Equal(before.Webhooks[1].MatchConditions, live.Webhooks[1].MatchConditions) &&
			len(live.Webhooks[1].ClientConfig.CABundle) > 0, err
	})
	for _, r := range replicas {
		if failed := counts(t, r.registry)["registrations Failed"]; failed > 0 {
			t.Errorf("%v writes of a replica failed", failed)
		}
	}
}
