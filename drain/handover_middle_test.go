package drain

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// An agent that is killed leaves a hand-over as far as it has come, and the next one
// knows of it what the API server does.
func TestAHandOverThatACrashCutsShortIsGoneOnWithAtEachStep(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		crash func(s *stage, h *HandOvers, ref PodRef)
		want  Path
	}{
		"when it has begun":              {func(*stage, *HandOvers, PodRef) {}, HandedOver},
		"when the replacement is made":   {func(s *stage, _ *HandOvers, _ PodRef) { s.waitPods(5*time.Second, count(2)) }, HandedOver},
		"when the replacement is Ready":  {func(s *stage, _ *HandOvers, _ PodRef) { s.waitPods(5*time.Second, lab.AllReady(2)) }, HandedOver},
		"when the replacement stands in": {func(s *stage, h *HandOvers, ref PodRef) { s.succeeded(h, ref) }, HandedOver},
		"when it was evicted after that": {func(s *stage, h *HandOvers, ref PodRef) {
			s.succeeded(h, ref)
			s.must(h.client.Evict(s.Context(), ref, 5*time.Second))
		}, AlreadyGone},
		"when it was taken back for want of a place": {func(s *stage, h *HandOvers, ref PodRef) {
			_, err := h.takeBack(s.Context(), ref)
			s.must(err)
		}, HandedOver},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 1, web("web", 1, "exits-after: 200ms", "exits-after: 2s"), guarded(1), service("web"))
			uncontrolled, fewest := s.controllersOf(), s.endpoints(1)
			h, old := s.handOvers(), s.pod("web")
			c.crash(s, h, s.begun(h, old))

			outcomes := s.drain(t.Context(), s.handOvers(), Policy{HandOver: HandOverWhenBlocked}, time.Minute)
			if len(outcomes) != 1 || outcomes[0].Path != c.want || outcomes[0].GoneAt.IsZero() {
				t.Errorf("the next agent's drain ended with %+v, want the pod gone as %s", outcomes, c.want)
			}
			s.waitPods(10*time.Second, func(pods []corev1.Pod) bool { return lab.AllReady(1)(pods) && pods[0].UID != old.UID })
			if n := fewest(); n < 1 {
				t.Errorf("there were only %d ready endpoints", n)
			}
			if n := uncontrolled(); n > 0 {
				t.Errorf("pods were seen %d times without a controller", n)
			}
		})
	}
}

func TestHandOverWaitsAnewForAReplacementThatBecomesUnready(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	h, old := s.handOvers(), s.pod("web")
	ref := s.begun(h, old)
	ended := make(chan error, 1)
	var end Succession
	go func() {
		var err error
		end, _, err = h.Await(s.within(30*time.Second), ref)
		ended <- err
	}()
	s.waitPods(10*time.Second, lab.AllReady(2))
	s.setReady(s.replacement(old), false)
	select {
	case err := <-ended:
		t.Fatalf("the wait ended with %q, %v while the replacement was not ready", end, err)
	case <-time.After(settled + time.Second):
	}
	s.setReady(s.replacement(old), true)
	again := time.Now()
	s.must(<-ended)
	if stood := time.Since(again); end != Ready || stood < settled-100*time.Millisecond {
		t.Errorf("the wait ended with %q %v after the replacement was Ready again, want %s after %v", end, stood, Ready, settled)
	}
}

// replacement is the name of the pod that is not old.
func (s *stage) replacement(old *corev1.Pod) string {
	s.Helper()
	list, err := s.lab.Client().CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{})
	s.must(err)
	for i := range list.Items {
		if list.Items[i].UID != old.UID {
			return list.Items[i].Name
		}
	}
	s.Fatal("there is no replacement")
	return ""
}

// A pod that becomes unready while its replacement comes has served its purpose no
// less: it is evicted when that stands in.
func TestHandOverGoesOnWhenThePodItselfBecomesUnready(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1, "ready-after: 500ms", "ready-after: 2s"), guarded(1))
	old := s.pod("web")
	done := make(chan []PodOutcome)
	go func() {
		done <- s.drain(t.Context(), s.handOvers(), Policy{HandOver: HandOverWhenBlocked}, time.Minute)
	}()
	s.waitPods(20*time.Second, count(2))
	s.setReady(old.Name, false)
	if outcomes := <-done; len(outcomes) != 1 || outcomes[0].Path != HandedOver {
		t.Errorf("the drain ended with %+v, want the pod handed over", outcomes)
	}
	s.waitPods(20*time.Second, lab.AllReady(1))
}

// What a Deployment or a pod has against it only for a while.
func TestHandOverIsRefusedWhileItsTimeIsBad(t *testing.T) {
	t.Parallel()
	patch := func(s *stage, patch string) {
		_, err := s.lab.Client().AppsV1().Deployments(s.namespace).
			Patch(s.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
		s.must(err)
	}
	// anew returns a pod of the stage that was not there at first, when it is as asked.
	anew := func(s *stage, is func(*corev1.Pod) bool) *corev1.Pod {
		first, found := s.pod("web"), (*corev1.Pod)(nil)
		s.waitPods(20*time.Second, func(pods []corev1.Pod) bool {
			for i := range pods {
				if pods[i].UID != first.UID && is(&pods[i]) {
					found = &pods[i]
				}
			}
			return found != nil
		})
		return found
	}
	cases := map[string]struct {
		when func(s *stage) *corev1.Pod
		want Refusal
	}{
		"a pod of the new template while the old one is there": {func(s *stage) *corev1.Pod {
			patch(s, `{"spec":{"template":{"metadata":{"annotations":{"version":"2"}}},"minReadySeconds":300}}`)
			return anew(s, func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning })
		}, RollingOut},
		"a pod whose Deployment cannot make others": {func(s *stage) *corev1.Pod {
			s.quota(1)
			patch(s, `{"spec":{"replicas":2}}`)
			s.waitDeployment("web", "to fail", func(d *appsv1.Deployment) bool { return replicaFailure(d) != "" })
			return s.pod("web")
		}, ReplicaFailure},
		"a pod that has not started": {func(s *stage) *corev1.Pod {
			s.cordon(s.refuge)
			patch(s, `{"spec":{"replicas":2}}`)
			return anew(s, func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodPending })
		}, NotRunning},
		"a pod that is on its way out": {func(s *stage) *corev1.Pod {
			pod := s.pod("web")
			pods := s.lab.Client().CoreV1().Pods(s.namespace)
			s.must(pods.Delete(s.Context(), pod.Name, metav1.DeleteOptions{}))
			pod, err := pods.Get(s.Context(), pod.Name, metav1.GetOptions{})
			s.must(err)
			return pod
		}, AlreadyEnding},
		"a pod that somebody else hands over": {func(s *stage) *corev1.Pod {
			pod := s.pod("web")
			s.begun(s.handOvers(), pod)
			return s.pod("web")
		}, AlreadyHanded},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 1, web("web", 1, "exits-after: 200ms", "exits-after: 4s"))
			if got, err := s.handOvers().Begin(s.within(10*time.Second), c.when(s)); got != c.want || err != nil {
				t.Errorf("refused as %q, %v; want %q", got, err, c.want)
			}
		})
	}
}
