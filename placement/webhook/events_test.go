package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/placement"
)

// written is an EventWriter that keeps what it is given, or fails.
type written struct {
	events []*eventsv1.Event
	err    error
}

func (w *written) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	event, is := object.(*eventsv1.Event)
	if !is {
		return fmt.Errorf("writing a %T", object)
	}
	if w.err == nil {
		w.events = append(w.events, event)
	}
	return w.err
}

// telling runs Events in virtual time while do hears, and returns what was counted.
func telling(t *testing.T, writer EventWriter, do func(*Events)) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	events := NewEvents(writer, "replica-1", registry, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- events.Run(ctx) }()
	do(events)
	synctest.Wait()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return counts(t, registry)
}

// ownedPod is a pod of the ReplicaSet ingress.
func ownedPod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "edge", GenerateName: "ingress-",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "ingress", UID: "uid-1", Controller: new(true)}},
	}}
}

var contradiction = placement.Decision{Outcome: placement.Unchanged, Reason: placement.Contradiction, Key: "lifecycle", Policy: "dns"}

func TestAnEventIsAboutTheWorkloadAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writer written
		bare := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "bare"}}
		override := placement.Decision{Outcome: placement.PlacedRequired, Reason: placement.PolicyRequires, IgnoredOverride: strings.Repeat("é", 2000)}
		got := telling(t, &writer, func(e *Events) {
			e.Hear(ownedPod(), contradiction)
			e.Hear(bare, contradiction)
			e.Hear(bare, override)
		})
		if diff := cmp.Diff(map[string]float64{"events Written": 3}, got); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
		type said struct{ kind, name, reason string }
		var all []said
		for _, event := range writer.events {
			all = append(all, said{event.Regarding.Kind, event.Regarding.Name, event.Reason})
			if event.Namespace != "edge" || event.Type != corev1.EventTypeWarning || event.Note == "" || len(event.Note) > maxNote {
				t.Errorf("event %+v", event)
			}
		}
		want := []said{{"ReplicaSet", "ingress", "Contradiction"}, {"Pod", "bare", "Contradiction"}, {"Pod", "bare", IgnoredOverride}}
		if diff := cmp.Diff(want, all, cmp.AllowUnexported(said{})); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestTheSameIsSaidAgainOnlyAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writer written
		got := telling(t, &writer, func(e *Events) {
			for range 3 {
				e.Hear(ownedPod(), contradiction)
			}
			<-time.After(repeatAfter + time.Second)
			e.Hear(ownedPod(), contradiction)
		})
		if diff := cmp.Diff(map[string]float64{"events Written": 2, "events Repeated": 2}, got); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
	})
}

func TestTooMuchIsDroppedAndHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writer written
		got := telling(t, &writer, func(e *Events) {
			for i := range 500 {
				e.Hear(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: fmt.Sprint("pod-", i)}}, contradiction)
			}
		})
		if diff := cmp.Diff(map[string]float64{"events Written": burst, "events Dropped": 500 - burst}, got); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
	})
}

func TestAnEventThatIsRefusedIsCountedAndNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := telling(t, &written{err: errors.New("forbidden")}, func(e *Events) { e.Hear(ownedPod(), contradiction) })
		if diff := cmp.Diff(map[string]float64{"events Failed": 1}, got); diff != "" {
			t.Errorf("counted (-want +got):\n%s", diff)
		}
	})
}
