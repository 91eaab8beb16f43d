package drain

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// balancers is a node behind load balancers.
type balancers struct {
	services []corev1.Service
	// last says that no other node serves.
	last bool
	// already says that the node was excluded before.
	already bool
	// failsFor is how long listing, asking and excluding fail, each from its
	// own first attempt on.
	listFailsFor, askFailsFor, excludeFailsFor time.Duration

	first      map[string]time.Time
	excludedAt time.Time
}

var errUnavailable = errors.New("unavailable")

func (b *balancers) fails(ctx context.Context, what string, failsFor time.Duration) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if b.first == nil {
		b.first = map[string]time.Time{}
	}
	if _, asked := b.first[what]; !asked {
		b.first[what] = time.Now()
	}
	if time.Since(b.first[what]) < failsFor {
		return errUnavailable
	}
	return nil
}

func (b *balancers) LocalServices(ctx context.Context) ([]corev1.Service, error) {
	return b.services, b.fails(ctx, "list", b.listFailsFor)
}

func (b *balancers) AnotherServes(ctx context.Context) (bool, error) {
	return !b.last, b.fails(ctx, "ask", b.askFailsFor)
}

func (b *balancers) Exclude(ctx context.Context) (bool, error) {
	if err := b.fails(ctx, "exclude", b.excludeFailsFor); err != nil {
		return false, err
	}
	b.excludedAt = time.Now()
	return !b.already, nil
}

func localService(namespace string, selector map[string]string) corev1.Service {
	return corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ingress"},
		Spec:       corev1.ServiceSpec{Selector: selector, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal},
	}
}

func notReady(pod *corev1.Pod) { pod.Status.Conditions[0].Status = corev1.ConditionFalse }

func TestANodeIsExcludedWhenNothingHereServesAndAtTheLatestBeforeTheEnd(t *testing.T) {
	t.Parallel()
	ingress := label("app", "ingress")
	service := []corev1.Service{localService("default", map[string]string{"app": "ingress"})}
	second := time.Second
	cases := map[string]struct {
		node *balancers
		pods []*corev1.Pod
		// leaves is when pods are told to stop.
		leaves map[types.UID]time.Duration
		// tightened is when the deadline becomes one minute after the start.
		tightened time.Duration
		// cordoned is when the cordon is written.
		cordoned time.Duration
		reason   ExclusionReason
		after    time.Duration
	}{
		"at once without such Services":                     {node: &balancers{}, pods: []*corev1.Pod{newPod("a", ingress)}, reason: Excluded},
		"at once where none of its pods is here":            {node: &balancers{services: service}, pods: []*corev1.Pod{newPod("a")}, reason: Excluded},
		"at once where its pod is not ready":                {node: &balancers{services: service}, pods: []*corev1.Pod{newPod("a", ingress, notReady)}, reason: Excluded},
		"at once where its pod is leaving":                  {node: &balancers{services: service}, pods: []*corev1.Pod{newPod("a", ingress, terminating)}, reason: Excluded},
		"at once where its pod is of another namespace":     {node: &balancers{services: service}, pods: []*corev1.Pod{newPod("a", ingress, namespace("x"))}, reason: Excluded},
		"at once where the Service selects nothing":         {node: &balancers{services: []corev1.Service{localService("default", nil)}}, pods: []*corev1.Pod{newPod("a")}, reason: Excluded},
		"when its only pod leaves":                          {node: &balancers{services: service}, pods: []*corev1.Pod{newPod("a", ingress)}, leaves: map[types.UID]time.Duration{"uid-a": 10 * second}, reason: Excluded, after: 10 * second},
		"when the last of its pods leaves":                  {node: &balancers{services: service}, pods: []*corev1.Pod{newPod("a", ingress), newPod("b", ingress), newPod("c")}, leaves: map[types.UID]time.Duration{"uid-a": 10 * second, "uid-b": 30 * second, "uid-c": 50 * second}, reason: Excluded, after: 30 * second},
		"twenty seconds before the end in any case":         {node: &balancers{services: service}, pods: []*corev1.Pod{newPod("a", ingress)}, reason: Excluded, after: 100 * second},
		"twenty seconds before an end that has come nearer": {node: &balancers{services: service}, pods: []*corev1.Pod{newPod("a", ingress)}, tightened: 5 * second, reason: Excluded, after: 40 * second},
		"not before the cordon":                             {node: &balancers{}, cordoned: 7 * second, reason: Excluded, after: 7 * second},
		"when the Services can be listed again":             {node: &balancers{services: service, listFailsFor: 3 * second}, pods: []*corev1.Pod{newPod("a", ingress)}, leaves: map[types.UID]time.Duration{"uid-a": second}, reason: Excluded, after: 3 * second},
		"before the end where Services cannot be listed":    {node: &balancers{services: service, listFailsFor: time.Hour}, reason: Excluded, after: 100 * second},
		"when the nodes can be listed again":                {node: &balancers{askFailsFor: 2 * second}, reason: Excluded, after: 2 * second},
		"when the label can be written again":               {node: &balancers{excludeFailsFor: 4 * second}, reason: Excluded, after: 4 * second},
		"never where no other node serves":                  {node: &balancers{last: true}, reason: LastNode},
		"not again where somebody else has done it":         {node: &balancers{already: true}, reason: AlreadyExcluded},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				countdown := NewCountdown(NewBudget(began.Add(2*time.Minute), began))
				exclusion := NewExclusion(c.node)
				for pod, after := range c.leaves {
					time.AfterFunc(after, func() { exclusion.Leaves(pod) })
				}
				if c.tightened > 0 {
					time.AfterFunc(c.tightened, func() { countdown.Tighten(began.Add(time.Minute), time.Now()) })
				}
				cordoned := make(chan struct{})
				time.AfterFunc(c.cordoned, func() { close(cordoned) })

				got := exclusion.Run(t.Context(), podList(c.pods...), countdown, cordoned)
				want := ExclusionOutcome{Reason: c.reason, At: began.Add(c.after)}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
				if touched := !c.node.excludedAt.IsZero(); touched == (c.reason == LastNode) {
					t.Errorf("the label was written: %v, outcome %q", touched, c.reason)
				}
			})
		})
	}
}

func TestAnExclusionEndsWithItsDrain(t *testing.T) {
	t.Parallel()
	service := []corev1.Service{localService("default", map[string]string{"app": "ingress"})}
	pods := podList(newPod("a", label("app", "ingress")))
	cases := map[string]struct {
		node     *balancers
		cordoned bool
	}{
		"while a pod serves":                  {&balancers{services: service}, true},
		"while there is no cordon":            {&balancers{}, false},
		"while the Services cannot be listed": {&balancers{listFailsFor: time.Hour}, true},
		"while the label cannot be written":   {&balancers{excludeFailsFor: time.Hour}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				defer cancel()
				cordoned := make(chan struct{})
				if c.cordoned {
					close(cordoned)
				}
				countdown := NewCountdown(NewBudget(began.Add(2*time.Minute), began))
				got := NewExclusion(c.node).Run(ctx, pods, countdown, cordoned)
				if got.Reason != NotExcluded || !c.node.excludedAt.IsZero() {
					t.Errorf("outcome is %+v, the label written at %v", got, c.node.excludedAt)
				}
				if took := time.Since(began); took != 15*time.Second {
					t.Errorf("ended after %v, want the end of its drain after 15s", took)
				}
			})
		})
	}
}
