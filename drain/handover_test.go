package drain

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestHandOverReplacesAPodBeforeItGoes(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1), guarded("web", 1), service("web"))
	uncontrolled, fewest := s.controllersOf(), s.endpoints()
	h := s.handOvers()
	old := s.pod("web")
	before := s.deployment("web")

	if err := h.client.Evict(t.Context(), refOf(old), 5*time.Second); Classify(err).Verdict != BudgetClosed {
		t.Fatalf("the eviction says %v, want a closed budget", err)
	}
	began := time.Now()
	ref := s.begun(h, old)
	s.waitPods(2*time.Second, func(pods []corev1.Pod) bool { return len(pods) == 2 })
	t.Logf("replacement made after %v", time.Since(began))
	s.waitPods(10*time.Second, lab.AllReady(2))
	t.Logf("replacement ready after %v", time.Since(began))
	s.succeeded(h, ref)
	t.Logf("succeeded after %v", time.Since(began))

	s.must(h.client.Evict(t.Context(), ref, 5*time.Second))
	s.waitPods(10*time.Second, func(pods []corev1.Pod) bool { return len(pods) == 1 && pods[0].UID != old.UID })
	s.settledStatus()
	after := s.deployment("web")
	if before.Generation != after.Generation || after.Annotations["deployment.kubernetes.io/revision"] != "1" {
		t.Errorf("the Deployment went from generation %d to %d, revision %q", before.Generation, after.Generation, after.Annotations)
	}
	if n := uncontrolled(); n > 0 {
		t.Errorf("pods were seen %d times without a controller", n)
	}
	if n := fewest(); n < 1 {
		t.Errorf("there were only %d ready endpoints", n)
	}
}

func TestHandOverIsUndone(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1), guarded("web", 1))
	uncontrolled := s.controllersOf()
	old := s.pod("web")
	ref := s.begun(s.handOvers(), old)
	s.waitPods(10*time.Second, lab.AllReady(2))

	undone, err := s.handOvers().Undo(t.Context(), ref)
	s.must(err)
	if !undone {
		t.Fatal("it was not undone")
	}
	s.waitPods(10*time.Second, func(pods []corev1.Pod) bool { return len(pods) == 1 && pods[0].UID == old.UID })
	back := s.pod("web")
	if !metav1.IsControlledBy(back, &metav1.ObjectMeta{UID: old.OwnerReferences[0].UID}) {
		t.Errorf("the pod is owned by %v, want its ReplicaSet", back.OwnerReferences)
	}
	if handOver, err := HandOverOf(back); handOver != nil || err != nil {
		t.Errorf("the pod still carries %v, %v", handOver, err)
	}
	if n := uncontrolled(); n > 0 {
		t.Errorf("pods were seen %d times without a controller", n)
	}
}
