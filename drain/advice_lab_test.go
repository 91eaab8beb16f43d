package drain

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// onAdvice is the policy of a drain that follows one.
var onAdvice = Policy{Gentle: true, HandOver: HandOverAlways, Only: &Selection{}}

// critical is what makes the pods of a manifest of web worth an advice.
var critical = []string{"annotations: {", `annotations: {ebbtide.dev/critical: "true", `}

// advised marks the doomed node for an advice.
func (s *stage) advised(client *Client) {
	s.Helper()
	if _, outcome := Cordon(s.within(30*time.Second), client, advice); outcome.Done.IsZero() || outcome.Ours {
		s.Fatalf("the node was marked: %+v", outcome)
	}
}

// handed waits until the doomed node's pod of web is handed over.
func (s *stage) handed(uid types.UID) {
	s.Helper()
	s.waitPods(30*time.Second, func(pods []corev1.Pod) bool {
		for i := range pods {
			if _, handed := pods[i].Labels[HandedOverKey]; handed && pods[i].UID == uid {
				return true
			}
		}
		return false
	})
}

func TestAnAdviceHandsOverWhatIsCriticalAndLeavesTheRest(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, web("web", 1, critical...), guarded(1), web("batch", 1))
	s.uncordon()
	old, batch := s.pod("web"), s.pod("batch")
	h := s.handOvers()
	s.advised(h.client)
	if diff := cmp.Diff(look{Taints: []corev1.Taint{softTaint}, State: &advice}, s.doomedLook()); diff != "" {
		t.Errorf("the node under the advice (-want +got):\n%s", diff)
	}

	outcomes := s.drain(t.Context(), h, onAdvice, time.Hour)
	if len(outcomes) != 1 || outcomes[0].UID != old.UID || outcomes[0].Path != HandedOver {
		t.Fatalf("the advice ended with %+v, want that pod %q was handed over", outcomes, old.Name)
	}
	// The scheduler was free to put the replacement beside the old pod, and has not.
	if pods := s.pods(); len(pods) != 1 || pods[0].UID != batch.UID {
		t.Errorf("on the node are %d pods, want %q alone", len(pods), batch.Name)
	}
	undone, err := h.client.UndoDrain(s.within(30*time.Second), func(state State) bool { return state.Advice != "" })
	if s.must(err); !undone {
		t.Error("the node was not put back")
	}
	if diff := cmp.Diff(look{}, s.doomedLook()); diff != "" {
		t.Errorf("the node after the advice (-want +got):\n%s", diff)
	}
}

func TestAnAdviceThatLapsesReversesItsOpenHandOvers(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1, critical...))
	s.cordon(s.refuge) // nobody takes the replacement
	old, h := s.pod("web"), s.handOvers()
	s.advised(h.client)
	outcomes := s.drain(t.Context(), h, onAdvice, 15*time.Second)
	if len(outcomes) != 1 || outcomes[0].Path != Spared {
		t.Fatalf("the advice ended with %+v, want that the pod stays", outcomes)
	}
	s.handed(old.UID)
	undone, err := h.client.UndoDrain(s.within(30*time.Second), anyState)
	if s.must(err); !undone {
		t.Error("the node was not put back")
	}
	if diff := cmp.Diff(look{Unschedulable: true}, s.doomedLook()); diff != "" {
		t.Errorf("the node, which others had cordoned (-want +got):\n%s", diff)
	}
	s.isBack(old)
}

func TestADrainGoesOnWithWhatAnAdviceHasHandedOver(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1, critical...), guarded(1))
	s.cordon(s.refuge)
	old, h := s.pod("web"), s.handOvers()
	s.advised(h.client)
	ctx, takeOver := context.WithCancelCause(t.Context())
	ended := make(chan []PodOutcome, 1)
	go func() { ended <- s.drain(ctx, h, onAdvice, time.Hour) }()
	s.handed(old.UID)
	takeOver(ErrTakenOver)
	if outcomes := <-ended; len(outcomes) != 1 || outcomes[0].Path != CalledOff {
		t.Fatalf("the advice ended with %+v, want that it was called off", outcomes)
	}

	next := s.handOvers()
	if _, outcome := Cordon(s.within(30*time.Second), next.client, State{Notice: "real", Kind: "SpotInterruption"}); outcome.Done.IsZero() {
		t.Fatal(outcome.Err)
	}
	want := look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: &State{Notice: "real", Kind: "SpotInterruption"}}
	if diff := cmp.Diff(want, s.doomedLook()); diff != "" {
		t.Errorf("the node, which others had cordoned (-want +got):\n%s", diff)
	}
	s.node("haven")
	outcomes := s.drain(t.Context(), next, Policy{}, 2*time.Minute)
	if len(outcomes) != 1 || outcomes[0].UID != old.UID || outcomes[0].Path != HandedOver {
		t.Errorf("the drain ended with %+v, want that pod %q was handed over", outcomes, old.Name)
	}
	s.waitPods(10*time.Second, lab.AllReady(1))
}

func TestAnAdviceMeetsADrain(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	s.uncordon()
	client := s.handOvers().client
	doomed := State{Notice: "real", Kind: "SpotInterruption", BootID: advice.BootID}
	if _, outcome := Cordon(s.within(30*time.Second), client, doomed); outcome.Done.IsZero() {
		t.Fatal(outcome.Err)
	}
	before := s.doomedLook()
	if _, err := client.Mark(s.within(10*time.Second), advice); !errors.Is(err, ErrUnderDrain) {
		t.Errorf("the advice says %v, want %v", err, ErrUnderDrain)
	}
	if diff := cmp.Diff(before, s.doomedLook()); diff != "" {
		t.Errorf("the advice changed the node (-before +after):\n%s", diff)
	}
	if excluded, err := client.Exclude(s.within(10 * time.Second)); !excluded || err != nil {
		t.Fatalf("the drain left the load balancers: %v, %v", excluded, err)
	}

	// The same machine after a reboot, and an advice that comes before anybody has
	// taken back what the drain did.
	rebooted := advice
	rebooted.BootID = "next"
	_, err := client.Mark(s.within(10*time.Second), rebooted)
	s.must(err)
	if diff := cmp.Diff(look{Taints: []corev1.Taint{softTaint}, State: &rebooted}, s.doomedLook()); diff != "" {
		t.Errorf("the node after a reboot (-want +got):\n%s", diff)
	}
	if excluded, err := client.Exclude(s.within(10 * time.Second)); excluded || err == nil {
		t.Errorf("an advice left the load balancers: %v, %v", excluded, err)
	}
}
