package drain

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var softTaint = corev1.Taint{Key: TaintKey, Value: "RebalanceAdvice", Effect: corev1.TaintEffectPreferNoSchedule}

// advice is the state of one, as the agent hands it to Mark.
var advice = State{Notice: "r-1", Kind: "RebalanceAdvice", BootID: "this", Advice: "HandOver"}

func TestAnAdviceMarksTheNodeSoftlyAndLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	labels := map[string]string{ExcludeLabel: "", "zone": "a"}
	cases := map[string]struct{ before, after look }{
		"a schedulable node stays schedulable": {
			look{},
			look{Taints: []corev1.Taint{softTaint}, State: &advice},
		},
		"a node that others cordoned stays cordoned": {
			look{Unschedulable: true, Taints: []corev1.Taint{otherTaint}, Annotations: map[string]string{"x": "y"}},
			look{Unschedulable: true, Taints: []corev1.Taint{otherTaint, softTaint}, State: &advice, Annotations: map[string]string{"x": "y"}},
		},
		"an advice takes the place of another": {
			look{Taints: []corev1.Taint{{Key: TaintKey, Value: "Maintenance", Effect: corev1.TaintEffectPreferNoSchedule}}, State: &State{Notice: "m-1", BootID: "this", Advice: "CordonSoftly"}},
			look{Taints: []corev1.Taint{softTaint}, State: &advice},
		},
		"a drain of another boot is taken back": {
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, Labels: labels, State: &State{BootID: "other", Cordoned: true, Excluded: true}},
			look{Taints: []corev1.Taint{softTaint}, Labels: map[string]string{"zone": "a"}, State: &advice},
		},
		"a drain of another boot leaves what others did": {
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, Labels: labels, State: &State{BootID: "other"}},
			look{Unschedulable: true, Taints: []corev1.Taint{softTaint}, Labels: labels, State: &advice},
		},
		"a node that was put back is marked anew": {
			look{State: &State{BootID: "this", PutBack: true}},
			look{Taints: []corev1.Taint{softTaint}, State: &advice},
		},
		"a state that nobody can read is overwritten": {
			look{Annotations: map[string]string{StateAnnotation: "garbage"}},
			look{Taints: []corev1.Taint{softTaint}, State: &advice},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := nodeOf(t, c.before)
			if isUnderDrain(node, advice.BootID) {
				t.Fatal("the node is taken to be under a drain")
			}
			patch, written := markPatch(node, advice, noon)
			got := patched(t, node, patch)
			if diff := cmp.Diff(c.after, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("node (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(got.State, &written); diff != "" {
				t.Errorf("said to be written (-node +said):\n%s", diff)
			}
			undone := c.after
			undone.Taints, undone.State = othersTaints(node), nil
			if diff := cmp.Diff(undone, putBack(t, nodeOf(t, got), written), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("node after the advice (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnAdviceDoesNotSoftenADrainOfThisBoot(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		state *State
		want  bool
	}{
		"a node without a state":            {nil, false},
		"a drain of this boot":              {&State{BootID: "this", Cordoned: true}, true},
		"a drain of a node others cordoned": {&State{BootID: "this"}, true},
		"a drain of another boot":           {&State{BootID: "other", Cordoned: true}, false},
		"a drain that was put back":         {&State{BootID: "this", PutBack: true}, false},
		"an advice of this boot":            {&State{BootID: "this", Advice: "CordonSoftly"}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := isUnderDrain(nodeOf(t, look{State: c.state}), "this"); got != c.want {
				t.Errorf("under a drain: %v, want %v", got, c.want)
			}
		})
	}
}

func TestADrainTakesAnAdviceOver(t *testing.T) {
	t.Parallel()
	boot := Boot{ID: "this", Uptime: func() time.Duration { return time.Hour }}
	earlier, state := advice, State{Notice: "r-1", Kind: "SpotInterruption", DeadlineKind: "exact"}
	earlier.SetDeadline(noon.Add(time.Minute), noon, boot)
	state.SetDeadline(noon.Add(2*time.Minute), noon, boot)
	cases := map[string]struct{ cordoned bool }{
		"a schedulable node is cordoned by us":                {false},
		"a node that others cordoned is not ours to uncordon": {true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := nodeOf(t, look{Unschedulable: c.cordoned, Taints: []corev1.Taint{softTaint}, State: &earlier})
			patch, _ := markPatch(node, state, noon)
			want := state // with its own deadline: an advice ends nothing
			want.Cordoned = !c.cordoned
			after := look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: &want}
			if diff := cmp.Diff(after, patched(t, node, patch), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("node (-want +got):\n%s", diff)
			}
		})
	}
}

// An agent that starts anew in the middle of an advice must not follow it for longer.
func TestAnAdviceKeepsTheNearerEndOfItsNotice(t *testing.T) {
	t.Parallel()
	boot := Boot{ID: "this", Uptime: func() time.Duration { return time.Hour }}
	earlier, state := advice, advice
	earlier.SetDeadline(noon.Add(20*time.Minute), noon, boot)
	state.SetDeadline(noon.Add(time.Hour), noon, boot)
	node := nodeOf(t, look{Taints: []corev1.Taint{softTaint}, State: &earlier})
	patch, _ := markPatch(node, state, noon)
	if diff := cmp.Diff(&earlier, patched(t, node, patch).State); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestAnAdviceWaitsForADrainWithoutHurry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		node := &marker{refusals: []error{fmt.Errorf("marking: %w", ErrUnderDrain), ErrUnderDrain}}
		_, got := Cordon(t.Context(), node, advice)
		want := CordonOutcome{Done: time.Now(), Ours: true}
		if diff := cmp.Diff(want, got); diff != "" || node.attempts != 3 {
			t.Errorf("outcome after %d attempts (-want +got):\n%s", node.attempts, diff)
		}
		if took := time.Since(began); took != 2*underDrainDelay {
			t.Errorf("it took %v, want %v", took, 2*underDrainDelay)
		}
	})
}

func TestAnAdviceMovesWhatIsWorthIt(t *testing.T) {
	t.Parallel()
	from := int32(1000)
	byPriority, byWord := &Selection{Priority: &from}, &Selection{}
	word := func(value string) trait { return annotation(CriticalAnnotation, value) }
	cases := map[string]struct {
		pod  *corev1.Pod
		only *Selection
		want SkipReason
	}{
		"a pod at the priority is moved":                    {newPod("a", withPriority(1000)), byPriority, ""},
		"a pod above it is moved":                           {newPod("a", withPriority(systemPriority)), byPriority, ""},
		"a pod below it stays":                              {newPod("a", withPriority(999)), byPriority, NotCritical},
		"a pod without a priority stays":                    {newPod("a"), byPriority, NotCritical},
		"a pod whose author says so is moved":               {newPod("a", word("true")), byPriority, ""},
		"a pod whose author says not stays":                 {newPod("a", withPriority(1000), word("false")), byPriority, NotCritical},
		"a word that is none leaves it to the priority":     {newPod("a", withPriority(1000), word("no")), byPriority, ""},
		"an empty word leaves it to the priority":           {newPod("a", word("")), byPriority, NotCritical},
		"no priority is high enough where none is set":      {newPod("a", withPriority(systemPriority)), byWord, NotCritical},
		"the author's word counts there, too":               {newPod("a", word("true")), byWord, ""},
		"a pod that runs until it completes stays":          {newPod("a", word("true"), annotation(WaitAnnotation, "true")), byWord, WaitsForCompletion},
		"a pod that nobody would make anew stays":           {newPod("a", word("true"), bare), byWord, UnmanagedPod},
		"a critical pod of a DaemonSet belongs to the node": {newPod("a", word("true"), daemonSet), byWord, DaemonSetPod},
		"a critical mirror pod is left to the kubelet":      {newPod("a", word("true"), mirror), byWord, MirrorPod},
		"a critical pod that finished has":                  {newPod("a", word("true"), phaseOf(corev1.PodFailed)), byWord, FinishedPod},
		"a drain moves all of them":                         {newPod("a", word("false")), nil, ""},
	}
	budget := NewBudget(noon.Add(time.Hour), noon)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := Policy{Gentle: true, Only: c.only, DaemonSets: true}
			if _, got := decide(c.pod, budget, policy); got != c.want {
				t.Errorf("reason is %q, want %q", got, c.want)
			}
			late := c.want
			if late == "" && c.only != nil {
				late = ReturnedPod // the scheduler found no better place
			}
			if _, got := Join(c.pod, budget, policy, noon); got != late {
				t.Errorf("bound late, the reason is %q, want %q", got, late)
			}
		})
	}
}

func TestAnAdviceTellsNoPodADeadline(t *testing.T) {
	t.Parallel()
	pod := newPod("a", annotation(CriticalAnnotation, "true"), annotation(DeadlineAnnotation, ""))
	budget := NewBudget(noon.Add(time.Hour), noon)
	for only, want := range map[*Selection]bool{nil: true, {}: false} {
		if move, _ := decide(pod, budget, Policy{Only: only}); move.Announce != want {
			t.Errorf("with the selection %+v it is told: %v, want %v", only, move.Announce, want)
		}
	}
}

func annotation(key, value string) trait {
	return func(pod *corev1.Pod) { metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value) }
}
