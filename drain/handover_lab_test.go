package drain

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestHandOverReplacesAPodBeforeItGoes(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1), guarded(1), service("web"))
	uncontrolled, fewest := s.controllersOf(), s.endpoints(1)
	h, old, before := s.handOvers(), s.pod("web"), s.web()
	if err := h.client.Evict(t.Context(), refOf(old), 5*time.Second); Classify(err).Verdict != BudgetClosed {
		t.Fatalf("the eviction says %v, want a closed budget", err)
	}

	began := time.Now()
	ref := s.begun(h, old)
	s.waitPods(2*time.Second, func(pods []corev1.Pod) bool { return len(pods) == 2 })
	made := time.Since(began)
	s.waitPods(10*time.Second, lab.AllReady(2))
	ready := time.Since(began)
	s.succeeded(h, ref)
	stood := time.Since(began)
	t.Logf("the replacement was made after %v, Ready after %v, and stood in after %v", made, ready, stood)
	if stood-ready < settled-100*time.Millisecond || stood-ready > settled+2*time.Second {
		t.Errorf("the replacement stood in %v after it was Ready, want %v", stood-ready, settled)
	}
	scale, err := s.lab.Client().AppsV1().Deployments(s.namespace).GetScale(t.Context(), "web", metav1.GetOptions{})
	s.must(err)
	if scale.Spec.Replicas != 1 || scale.Status.Replicas != 1 {
		t.Errorf("an autoscaler sees %d of %d replicas, want 1 of 1", scale.Status.Replicas, scale.Spec.Replicas)
	}

	s.must(h.client.Evict(t.Context(), ref, 5*time.Second))
	s.waitPods(10*time.Second, func(pods []corev1.Pod) bool { return len(pods) == 1 && pods[0].UID != old.UID })
	s.settledStatus()
	const revision = "deployment.kubernetes.io/revision"
	if after := s.web(); before.Generation != after.Generation || after.Annotations[revision] != "1" {
		t.Errorf("the Deployment is at generation %d, revision %q, want %d and 1", after.Generation, after.Annotations[revision], before.Generation)
	}
	if n := uncontrolled(); n > 0 {
		t.Errorf("pods were seen %d times without a controller", n)
	}
	if n := fewest(); n < 1 {
		t.Errorf("there were only %d ready endpoints", n)
	}
}

func TestHandOverIsUndoneAtEachStep(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		// until is how far the hand-over has come.
		until func(s *stage, h *HandOvers, ref PodRef)
		// later makes the undo another agent's.
		later bool
	}{
		"as soon as it has begun":             {until: func(*stage, *HandOvers, PodRef) {}},
		"when the replacement is made":        {until: func(s *stage, _ *HandOvers, _ PodRef) { s.waitPods(5*time.Second, count(2)) }},
		"when the replacement is Ready":       {until: func(s *stage, _ *HandOvers, _ PodRef) { s.waitPods(5*time.Second, lab.AllReady(2)) }},
		"when the replacement stands in":      {until: func(s *stage, h *HandOvers, ref PodRef) { s.succeeded(h, ref) }},
		"by the agent that follows a crash":   {until: func(*stage, *HandOvers, PodRef) {}, later: true},
		"by the next agent, when it stood in": {until: func(s *stage, h *HandOvers, ref PodRef) { s.succeeded(h, ref) }, later: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 1, web("web", 1), guarded(1))
			uncontrolled := s.controllersOf()
			h, old := s.handOvers(), s.pod("web")
			ref := s.begun(h, old)
			c.until(s, h, ref)
			if c.later {
				h = s.handOvers()
			}
			undone, err := h.Undo(s.within(10*time.Second), ref)
			s.must(err)
			if !undone {
				t.Fatal("it was not undone")
			}
			s.isBack(old)
			if n := uncontrolled(); n > 0 {
				t.Errorf("pods were seen %d times without a controller", n)
			}
			if undone, err := h.Undo(s.within(10*time.Second), ref); undone || err != nil {
				t.Errorf("a second undo says %v, %v; want that there is nothing to do", undone, err)
			}
		})
	}
}

// isBack checks that old is what its Deployment has, and as it was before.
func (s *stage) isBack(old *corev1.Pod) {
	s.Helper()
	s.waitPods(10*time.Second, func(pods []corev1.Pod) bool { return len(pods) == 1 && pods[0].UID == old.UID })
	s.settledStatus()
	back := s.pod(old.Name)
	if was := metav1.GetControllerOf(old); !metav1.IsControlledBy(back, &metav1.ObjectMeta{UID: was.UID}) {
		s.Errorf("the pod is owned by %v, want its ReplicaSet", back.OwnerReferences)
	}
	if back.Labels[hashLabel] != old.Labels[hashLabel] {
		s.Errorf("the pod's labels are %v, want %v", back.Labels, old.Labels)
	}
	if handOver, err := HandOverOf(back); handOver != nil || err != nil {
		s.Errorf("the pod still carries %v, %v", handOver, err)
	}
	want, had := old.Annotations[corev1.PodDeletionCost]
	if got, has := back.Annotations[corev1.PodDeletionCost]; got != want || has != had {
		s.Errorf("the pod's deletion cost is %q (any: %v), want %q (any: %v)", got, has, want, had)
	}
	if aside, still := back.Annotations[DeletionCostAnnotation]; still {
		s.Errorf("the pod's deletion cost %q is still aside", aside)
	}
}

func count(n int) func([]corev1.Pod) bool {
	return func(pods []corev1.Pod) bool { return len(pods) == n }
}

func TestHandOverIsTakenUpByTheNextAgent(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	old := s.pod("web")
	s.begun(s.handOvers(), old)

	next, handed := s.handOvers(), s.pod("web")
	handOver, err := HandOverOf(handed)
	s.must(err)
	rs := metav1.GetControllerOf(old)
	want := HandOver{Hash: old.Labels[hashLabel], ReplicaSet: rs.Name, ReplicaSetUID: rs.UID, Notice: "notice-1", Available: 1}
	if handOver == nil || *handOver != want {
		t.Fatalf("the pod carries %+v, want %+v", handOver, want)
	}
	for range 2 {
		if refusal, err := next.Begin(t.Context(), handed); refusal != AlreadyHanded || err != nil {
			t.Errorf("a second hand-over says %q, %v; want %q", refusal, err, AlreadyHanded)
		}
	}
	s.succeeded(next, refOf(old))
}

func TestHandOverThatASecondAgentTriesToo(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	old := s.pod("web")
	s.begun(s.handOvers(), old)
	if refusal, err := s.handOvers().Begin(t.Context(), old); !apierrors.IsConflict(err) && refusal != SurgeInUse {
		t.Errorf("a hand-over of a pod as it was before says %q, %v; want a conflict, or that the surge is in use", refusal, err)
	}
}

// Each agent has found a place free before the first of them takes it.
func TestHandOversOfManyAgentsNeverOverdrawTheSurge(t *testing.T) {
	t.Parallel()
	const agents, surge = 6, 2
	s := newStage(t, agents, web("web", agents, "maxSurge: 1", "maxSurge: 2"))
	pods, all := s.pods(), make([]*HandOvers, agents)
	for i := range pods {
		h := s.handOvers()
		if refusal, err := h.refuse(t.Context(), &pods[i], h.lineage(metav1.GetControllerOf(&pods[i]).UID)); refusal != "" || err != nil {
			t.Fatalf("asked before all of them, the pod is refused: %q, %v", refusal, err)
		}
		// They stay sure of what they have seen, however long the others take.
		h.handed[s.namespace].at = time.Now().Add(time.Minute)
		all[i] = h
	}
	var wait sync.WaitGroup
	refusals := make([]Refusal, agents)
	for i, h := range all {
		wait.Go(func() {
			refusal, err := h.Begin(s.within(20*time.Second), &pods[i])
			if err != nil {
				t.Errorf("handing over pod %q: %v", pods[i].Name, err)
			}
			refusals[i] = refusal
		})
	}
	wait.Wait()
	places := 0
	for _, refusal := range refusals {
		if refusal == "" {
			places++
		} else if refusal != SurgeInUse {
			t.Errorf("a pod is refused as %q, want %q", refusal, SurgeInUse)
		}
	}
	if places != surge {
		t.Errorf("%d pods were handed over, want %d: %q", places, surge, refusals)
	}
	handed, err := s.handOvers().client.handedOver(t.Context(), s.namespace, "")
	s.must(err)
	if got := handed[s.web().UID]; got != surge {
		t.Errorf("%d pods are handed over, want %d", got, surge)
	}
	s.waitPods(20*time.Second, lab.AllReady(agents+surge))
}

// An agent that was killed before it could look at the surge leaves that to the next.
func TestHandOverTooManyIsUndoneByTheNextAgent(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, web("web", 2))
	pods := s.pods()
	s.begun(s.handOvers(), &pods[0])
	crashed, owner := s.handOvers(), metav1.GetControllerOf(&pods[1])
	handOver := HandOver{Hash: pods[1].Labels[hashLabel], ReplicaSet: owner.Name, ReplicaSetUID: owner.UID, Available: 2}
	patch := handOverPatch(&pods[1], s.web(), handOver)
	handed, err := crashed.client.changePod(t.Context(), "handing over", refOf(&pods[1]), patch)
	s.must(err)
	if refusal, err := s.handOvers().Begin(t.Context(), handed); refusal != SurgeInUse || err != nil {
		t.Errorf("the next agent says %q, %v; want %q", refusal, err, SurgeInUse)
	}
	s.waitPods(10*time.Second, lab.AllReady(3))
	if back := s.pod(pods[1].Name); !ownedBy(back, "ReplicaSet") {
		t.Errorf("the pod is owned by %v, want its ReplicaSet", back.OwnerReferences)
	}
}

func TestHandOverFailsWhereNoReplacementCanBeMade(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, web("web", 1), web("other", 1))
	h, old := s.handOvers(), s.pod("web")
	s.begun(h, s.pod("other")) // so that h has seen what the namespace allows
	s.waitPods(10*time.Second, lab.AllReady(3))
	s.quota(3)

	ref := s.begun(h, old)
	end, why, err := h.Await(s.within(20*time.Second), ref)
	s.must(err)
	if end != Failed || !strings.Contains(why, "exceeded quota: full") {
		t.Fatalf("the wait ends with %q, %q; want %s for the quota", end, why, Failed)
	}
	undone, err := h.Undo(t.Context(), ref)
	s.must(err)
	if !undone {
		t.Fatal("it was not undone")
	}
	s.settledStatus()
	if back := s.pod("web"); back.UID != old.UID || !ownedBy(back, "ReplicaSet") {
		t.Errorf("pod %q is owned by %v, want the old one with its ReplicaSet", back.Name, back.OwnerReferences)
	}
}

func TestHandOverEndsWithItsDeployment(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	h := s.handOvers()
	ref := s.begun(h, s.pod("web"))
	s.waitPods(10*time.Second, count(2))
	s.must(s.lab.Client().AppsV1().Deployments(s.namespace).Delete(t.Context(), "web", metav1.DeleteOptions{}))
	end, why, err := h.Await(s.within(10*time.Second), ref)
	if s.must(err); end != Failed || why == "" {
		t.Errorf("the wait ends with %q, %q; want %s", end, why, Failed)
	}
	s.waitPods(20*time.Second, count(0))
	if undone, err := h.Undo(t.Context(), ref); undone || err != nil {
		t.Errorf("an undo says %v, %v; want that there is nothing to do", undone, err)
	}
}

// What would adopt an orphan that it selects must leave a pod that is handed over.
func TestHandOverLeavesNothingToAdopt(t *testing.T) {
	t.Parallel()
	wider := `
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {nodeSelector: {stage: nowhere}, containers: [{name: c, image: none}]}}`
	s := newStage(t, 1, web("web", 1),
		"{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: dormant}, spec: {replicas: 0,"+flow(wider)+"}}",
		"{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: dormant}, spec: {"+flow(wider)+"}}")
	h, old := s.handOvers(), s.pod("web")
	ref := s.begun(h, old)
	s.waitPods(10*time.Second, lab.AllReady(2))
	// Both look at their pods again, and say so.
	s.synced("dormant")
	s.succeeded(h, ref)
	if pod := s.pod(old.Name); !ownedBy(pod, "Deployment") {
		t.Errorf("the pod is owned by %v, want its Deployment", pod.OwnerReferences)
	}
}

// flow turns the lines of a YAML mapping into the inside of a flow mapping.
func flow(lines string) string {
	return strings.Join(strings.Split(strings.TrimSpace(lines), "\n"), ", ")
}

// synced changes a ReplicaSet and a DaemonSet of that name, and waits until their
// controllers have taken it in.
func (s *stage) synced(name string) {
	s.Helper()
	ctx, apps, patch := s.within(20*time.Second), s.lab.Client().AppsV1(), []byte(`{"spec":{"minReadySeconds":1}}`)
	_, err := apps.ReplicaSets(s.namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	s.must(err)
	_, err = apps.DaemonSets(s.namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	s.must(err)
	sets, err := apps.ReplicaSets(s.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	s.must(err)
	defer sets.Stop()
	for event := range sets.ResultChan() {
		if rs, ok := event.Object.(*appsv1.ReplicaSet); ok && rs.Status.ObservedGeneration > 1 {
			break
		}
	}
	daemons, err := apps.DaemonSets(s.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	s.must(err)
	defer daemons.Stop()
	for event := range daemons.ResultChan() {
		if set, ok := event.Object.(*appsv1.DaemonSet); ok && set.Status.ObservedGeneration > 1 {
			break
		}
	}
	s.must(ctx.Err())
}

func TestHandOverGoesOnThroughARollout(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1), guarded(1))
	h, old := s.handOvers(), s.pod("web")
	ref := s.begun(h, old)
	image := []byte(`{"spec":{"template":{"metadata":{"labels":{"version":"2"}}}}}`)
	_, err := s.lab.Client().AppsV1().Deployments(s.namespace).Patch(t.Context(), "web", types.MergePatchType, image, metav1.PatchOptions{})
	s.must(err)
	if undone, err := h.Undo(t.Context(), ref); undone || err != nil {
		t.Errorf("an undo says %v, %v; want that the pod stays with its Deployment", undone, err)
	}
	if pod := s.pod(old.Name); !ownedBy(pod, "Deployment") {
		t.Errorf("the pod is owned by %v, want its Deployment", pod.OwnerReferences)
	}
	s.succeeded(s.handOvers(), ref)
	s.must(h.client.Evict(t.Context(), ref, 5*time.Second))
	s.waitPods(20*time.Second, func(pods []corev1.Pod) bool {
		return len(pods) == 1 && pods[0].Labels["version"] == "2" && lab.PodReady(pods[0])
	})
}

// With the controllers away, the Deployment's count of available pods still holds
// the pod itself: it must not pass for the replacement.
func TestHandOverIsNotFooledByAStaleCount(t *testing.T) {
	t.Parallel()
	s := newStageOf(t, lab.New(t), 1, web("web", 1))
	h, old := s.handOvers(), s.pod("web")
	s.must(s.lab.Pause(lab.ControllerManager))
	ref := s.begun(h, old)
	short, cancel := context.WithTimeout(t.Context(), 2*settled+time.Second)
	defer cancel()
	if end, why, err := h.Await(short, ref); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the wait ends with %q, %q, %v; want no end in time", end, why, err)
	}
	s.must(s.lab.Resume(lab.ControllerManager))
	s.succeeded(h, ref)
}

func TestHandOverIsOnlyRehearsedInADryRun(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	h, old := s.handOvers(), s.pod("web")
	h.client = NewDryRun(h.client).Client
	ref := s.begun(h, old)
	if end, why, err := h.Await(t.Context(), ref); end != Ready || err != nil {
		t.Errorf("the wait ends with %q, %q, %v; want %s", end, why, err, Ready)
	}
	if undone, err := h.Undo(t.Context(), ref); undone || err != nil {
		t.Errorf("an undo says %v, %v; want that there is nothing to do", undone, err)
	}
	if pod := s.pod("web"); pod.ResourceVersion != old.ResourceVersion {
		t.Errorf("the pod was written: %+v", pod.ObjectMeta)
	}
}
