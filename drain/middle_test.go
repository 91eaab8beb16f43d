package drain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// What may happen in the middle of a drain, on a real API server.

// setReady makes a pod ready, or not, as its probes would.
func (s *stage) setReady(pod string, ready bool) {
	s.Helper()
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	patch := fmt.Appendf(nil, `{"status":{"conditions":[{"type":"Ready","status":%q,"lastTransitionTime":%q}]}}`,
		status, time.Now().UTC().Format(time.RFC3339))
	_, err := s.lab.Client().CoreV1().Pods(s.namespace).
		Patch(s.Context(), pod, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	s.must(err)
}

// patchBudget changes the spec of the budget of that name.
func (s *stage) patchBudget(name, spec string) {
	s.Helper()
	_, err := s.lab.Client().PolicyV1().PodDisruptionBudgets(s.namespace).
		Patch(s.Context(), name, types.MergePatchType, []byte(`{"spec":`+spec+`}`), metav1.PatchOptions{})
	s.must(err)
}

// The pod is held back by a budget of its own when something happens, a second into
// a notice of thirty; its latest moment comes after 22 s.
func TestADrainGoesByWhatItsBudgetsAreNow(t *testing.T) {
	t.Parallel()
	const atOnce, latest = 5 * time.Second, 22 * time.Second
	hook := web("web", 1, "labels: {app: web}", "labels: {app: web, app.kubernetes.io/component: webhook}")
	front := web("front", 1, "exits-after: 200ms", "exits-after: 4s")
	cases := map[string]struct {
		manifests []string
		pods      int
		middle    func(s *stage)
		want      Path
		// told is about when it is told to stop.
		told time.Duration
	}{
		"nothing happens": {
			[]string{web("web", 1), guarded(1)}, 1, func(*stage) {}, Forced, latest,
		},
		"its budget is deleted": {
			[]string{web("web", 1), guarded(1)}, 1, func(s *stage) {
				s.must(s.lab.Client().PolicyV1().PodDisruptionBudgets(s.namespace).Delete(s.Context(), "web", metav1.DeleteOptions{}))
			}, Evicted, atOnce,
		},
		"its budget is changed to let it go": {
			[]string{web("web", 1), guarded(1)}, 1, func(s *stage) { s.patchBudget("web", `{"minAvailable":0}`) }, Evicted, atOnce,
		},
		"its budget is changed to cover others": {
			[]string{web("web", 1), guarded(1)}, 1, func(s *stage) {
				s.patchBudget("web", `{"selector":{"matchLabels":{"app":"others"}}}`)
			}, Evicted, atOnce,
		},
		"a second budget is made for it, so that none lets it go": {
			[]string{web("web", 1), guarded(1)}, 1, func(s *stage) {
				s.apply(strings.Replace(guarded(0), "name: web", "name: second", 1))
			}, Forced, atOnce,
		},
		"a budget is made for it while it waits for its turn": {
			[]string{hook, front}, 2, func(s *stage) { s.apply(guarded(1)) }, Forced, latest,
		},
		"it becomes unready, where its budget lets such pods go": {
			[]string{web("web", 1), guarded(1)}, 1, func(s *stage) {
				s.patchBudget("web", `{"unhealthyPodEvictionPolicy":"AlwaysAllow"}`)
				s.setReady(s.pod("web").Name, false)
			}, Evicted, atOnce,
		},
		// With one that was healthy a moment ago it could go before its controller has
		// counted again.
		"it becomes unready, where its budget was not healthy before": {
			[]string{web("web", 1), guarded(2)}, 1, func(s *stage) { s.setReady(s.pod("web").Name, false) }, Forced, latest,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, c.pods, c.manifests...)
			began, pod := time.Now(), refOf(s.pod("web"))
			done := make(chan []PodOutcome)
			go func() { done <- s.drain(t.Context(), s.handOvers(), Policy{HandOver: HandOverNever}, 30*time.Second) }()
			<-time.After(time.Second)
			c.middle(s)
			for _, out := range <-done {
				if out.PodRef != pod {
					continue
				}
				told := out.ToldAt.Sub(began)
				early, late := c.told == latest && told < latest-time.Second, told > c.told+2*time.Second
				if out.Path != c.want || early || late || out.GraceGiven != 5 {
					t.Errorf("the pod was %s after %v with %d s of its 5, want %s after about %v: %+v",
						out.Path, told, out.GraceGiven, c.want, c.told, out)
				}
				return
			}
			t.Error("the pod has no outcome")
		})
	}
}

// The API server takes no evictions in a namespace that is being deleted. Without
// its controller nobody else deletes the pods there.
func TestAPodOfANamespaceThatIsBeingDeletedIsDeletedAtOnce(t *testing.T) {
	t.Parallel()
	s := newStageOf(t, lab.New(t), 1, web("web", 1), guarded(1))
	s.must(s.lab.Pause(lab.ControllerManager))
	began := time.Now()
	done := make(chan []PodOutcome)
	go func() { done <- s.drain(t.Context(), s.handOvers(), Policy{HandOver: HandOverNever}, time.Minute) }()
	<-time.After(time.Second)
	s.must(s.lab.Client().CoreV1().Namespaces().Delete(t.Context(), s.namespace, metav1.DeleteOptions{}))
	outcomes := <-done
	if len(outcomes) != 1 || outcomes[0].Path != Forced || outcomes[0].GraceGiven != 5 {
		t.Fatalf("the drain ended with %+v, want the pod deleted with its 5 s", outcomes)
	}
	// The next probe of the closed budget finds out.
	if told := outcomes[0].ToldAt.Sub(began); told > 10*time.Second {
		t.Errorf("the pod was told after %v, want long before its latest moment", told)
	}
	s.must(s.lab.Resume(lab.ControllerManager))
}

func TestAPodWithAFinalizerHasLeftWhenItsContainersHaveEnded(t *testing.T) {
	t.Parallel()
	const name = "kept"
	s := newStage(t, 1, `
apiVersion: v1
kind: Pod
metadata: {name: kept, finalizers: [example.com/keep], annotations: {lab.ebbtide.dev/ready-after: 500ms, lab.ebbtide.dev/exits-after: 200ms}}
spec: {nodeSelector: {stage: "${stage}"}, terminationGracePeriodSeconds: 5, containers: [{name: c, image: none}]}`)
	pods := s.lab.Client().CoreV1().Pods(s.namespace)
	outcomes := s.drain(t.Context(), s.handOvers(), Policy{}, time.Minute)
	still, err := pods.Get(t.Context(), name, metav1.GetOptions{})
	s.must(err)
	_, err = pods.Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	s.must(err)
	if still.DeletionTimestamp == nil {
		t.Error("the pod was not told to stop")
	}
	if len(outcomes) != 1 || outcomes[0].Path != Evicted || outcomes[0].GoneAt.IsZero() {
		t.Errorf("the drain ended with %+v, want the pod evicted and gone", outcomes)
	}
}

// Two nodes go at a time, with two pods each under one budget that lets one pod of
// four be missing.
func TestDrainsOfTwoNodesShareABudget(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, web("web", 2), guarded(3), service("web"))
	_, err := s.lab.Client().AppsV1().Deployments(s.namespace).
		Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{})
	s.must(err)
	s.waitPods(20*time.Second, lab.AllReady(4))
	s.settledStatus()
	s.cordon(s.refuge)
	s.node("second-refuge")
	fewest := s.endpoints(4)

	done := make(chan []PodOutcome)
	for _, node := range []*lab.Node{s.doomed, s.refuge} {
		go func() {
			done <- s.drain(t.Context(), s.handOversOf(node), Policy{HandOver: HandOverNever}, time.Minute)
		}()
	}
	for _, out := range append(<-done, <-done...) {
		if out.Path != Evicted {
			t.Errorf("pod %q was %s, want it evicted: %+v", out.Name, out.Path, out)
		}
	}
	if n := fewest(); n < 3 {
		t.Errorf("there were only %d ready endpoints, want the 3 of the budget", n)
	}
	evictions := s.requests()["create pods"]
	t.Logf("4 pods took %d evictions", evictions)
	if evictions < 4 || evictions > 12 {
		t.Errorf("4 pods took %d evictions, want few in vain", evictions)
	}
	s.waitPods(20*time.Second, lab.AllReady(4))
}
