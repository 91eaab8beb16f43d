package e2e

import (
	"context"
	"slices"
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

// leastReady waits until want endpoints of a Service are ready, follows them from
// then on, and returns a function that ends that and tells how many were ready
// after each change, in order.
func (s *scene) leastReady(service string, want int) func() []int {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	watcher, err := s.lab.Client().DiscoveryV1().EndpointSlices(s.namespace).Watch(ctx,
		metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	s.must(err)
	var ready []int
	settled, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for event := range watcher.ResultChan() {
			slice, ok := event.Object.(*discoveryv1.EndpointSlice)
			if !ok {
				continue
			}
			n := readyEndpoints(slice)
			if len(ready) == 0 && n == want {
				close(settled)
			}
			if len(ready) > 0 || n == want {
				ready = append(ready, n)
			}
		}
	}()
	select {
	case <-settled:
	case <-s.within(time.Minute).Done():
		s.t.Fatalf("Service %q never had %d ready endpoints", service, want)
	}
	return func() []int {
		select {
		case <-done:
			s.t.Error("the watch of the endpoints ended before the test did")
		default:
		}
		cancel()
		<-done
		return ready
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
	least := s.leastReady("single", 1)
	s.interrupt(40 * time.Second)
	report := s.report(a, 45*time.Second)

	if got := outcome(t, report, "single"); got.Path != drain.HandedOver {
		t.Errorf("the pod took the path %s (hand-over %q), want %s", got.Path, got.HandOver, drain.HandedOver)
	}
	if ready := least(); slices.Min(ready) < 1 {
		t.Errorf("%d endpoints were ready at the worst, want 1: %v", slices.Min(ready), ready)
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
	least := s.leastReady("web", 4)
	s.interrupt(60 * time.Second)
	report := s.report(a, 65*time.Second)

	if got := report.Count(drain.HandedOver); got != 4 {
		t.Errorf("%d pods were handed over, want 4: %+v", got, report.Pods)
	}
	if ready := least(); slices.Min(ready) < 4 {
		t.Errorf("%d endpoints were ready at the worst, want 4: %v", slices.Min(ready), ready)
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
	least := s.leastReady("single", 1)
	s.interrupt(60 * time.Second)
	_, err := first.WaitLog(s.within(20*time.Second), "Handed pod over")
	s.must(err)
	s.must(first.Kill())
	report := s.report(s.start(), 65*time.Second)

	if got := outcome(t, report, "single"); got.Path != drain.HandedOver {
		t.Errorf("the pod took the path %s (hand-over %q), want %s", got.Path, got.HandOver, drain.HandedOver)
	}
	if ready := least(); slices.Min(ready) < 1 {
		t.Errorf("%d endpoints were ready at the worst, want 1: %v", slices.Min(ready), ready)
	}
	s.noneLost()
	s.toldOnce()
}
