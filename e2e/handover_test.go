package e2e

import (
	"context"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// service writes a Service for app.
func service(app string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + app + "}\nspec: {selector: {app: " + app + "}, ports: [{port: 80}]}\n"
}

// leastReady follows a Service's endpoints and returns a function that ends that
// and says how few of them were ready at a time.
func (s *scene) leastReady(service string) func() int {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	watcher, err := s.lab.Client().DiscoveryV1().EndpointSlices(s.namespace).Watch(ctx,
		metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	s.must(err)
	least, done := 1000, make(chan struct{})
	go func() {
		defer close(done)
		for event := range watcher.ResultChan() {
			if slice, ok := event.Object.(*discoveryv1.EndpointSlice); ok {
				least = min(least, readyEndpoints(slice))
			}
		}
	}()
	return func() int {
		cancel()
		<-done
		return least
	}
}

func readyEndpoints(slice *discoveryv1.EndpointSlice) int {
	n := 0
	for _, endpoint := range slice.Endpoints {
		if endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
			n++
		}
	}
	return n
}

func TestASingleReplicaThatMustBeThereMovesWithoutAMomentOfDowntime(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "single", replicas: 1}.manifest(s), budget("single", "single", "minAvailable", "1"), service("single"))
	a := s.ready()
	least := s.leastReady("single")
	s.interrupt(40 * time.Second)
	report := s.report(a, 45*time.Second)

	if got := outcome(t, report, "single"); got.Path != drain.HandedOver {
		t.Errorf("the pod took the path %s (hand-over %q), want %s", got.Path, got.HandOver, drain.HandedOver)
	}
	if n := least(); n < 1 {
		t.Errorf("%d endpoints were ready at the worst, want 1", n)
	}
	if took := report.Ended.Sub(s.noticed); took > 20*time.Second {
		t.Errorf("the drain took %s", took)
	}
	s.noneLost()
	s.toldOnce()
	s.must(s.lab.WaitPods(s.within(10*time.Second), s.namespace, "app=single", lab.AllReady(1)))
}

func TestAWorkloadThatAsksIsAlwaysReplacedBeforeItGoes(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(4, pods{name: "web", replicas: 4, asks: drain.HandOverAnnotation + ": Always"}.manifest(s), service("web"))
	a := s.ready()
	least := s.leastReady("web")
	s.interrupt(60 * time.Second)
	report := s.report(a, 65*time.Second)

	if got := report.Count(drain.HandedOver); got != 4 {
		t.Errorf("%d pods were handed over, want 4: %+v", got, report.Pods)
	}
	if n := least(); n < 4 {
		t.Errorf("%d endpoints were ready at the worst, want 4", n)
	}
	s.noneLost()
	s.toldOnce()
}

func TestAHandOverThatAQuotaForbidsIsUndoneAndThePodForcedInTime(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "single", replicas: 1, grace: 4 * time.Second}.manifest(s), budget("single", "single", "minAvailable", "1"))
	s.quota(1)
	a := s.ready()
	s.interrupt(25 * time.Second)
	report := s.report(a, 30*time.Second)

	got := outcome(t, report, "single")
	if got.Path != drain.Forced || got.HandOver != string(drain.QuotaFull) {
		t.Errorf("the pod took the path %s (hand-over %q), want %s after %s", got.Path, got.HandOver, drain.Forced, drain.QuotaFull)
	}
	s.noneLost()
	s.must(s.lab.WaitPods(s.within(20*time.Second), s.namespace, "app=single", lab.AllReady(1)))
}

func TestAHandOverIsGoneOnWithByTheNextAgent(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "single", replicas: 1, ready: 4 * time.Second}.manifest(s),
		budget("single", "single", "minAvailable", "1"), service("single"))
	first := s.ready()
	least := s.leastReady("single")
	s.interrupt(60 * time.Second)
	_, err := first.WaitLog(s.within(20*time.Second), "Handed pod over")
	s.must(err)
	s.must(first.Kill())
	report := s.report(s.start(), 65*time.Second)

	if got := outcome(t, report, "single"); got.Path != drain.HandedOver {
		t.Errorf("the pod took the path %s (hand-over %q), want %s", got.Path, got.HandOver, drain.HandedOver)
	}
	if n := least(); n < 1 {
		t.Errorf("%d endpoints were ready at the worst, want 1", n)
	}
	s.noneLost()
	s.toldOnce()
}
