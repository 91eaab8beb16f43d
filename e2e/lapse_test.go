package e2e

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestANoticeThatIsTakenBackIsUndoneAMinuteAfterItsDeadlineAndNotBefore(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "web", replicas: 1}.manifest(s))
	a := s.ready()
	deadline := time.Now().Add(12 * time.Second)
	s.imds.Interrupt("terminate", deadline)
	s.must(s.lab.WaitNode(s.within(5*time.Second), s.doomed.Name(), cordoned))
	s.imds.TakeBack()

	s.must(s.lab.WaitNode(s.within(2*time.Minute), s.doomed.Name(), clean))
	if undone := time.Since(deadline); undone < 58*time.Second || undone > 70*time.Second {
		t.Errorf("the cordon was undone %s after the deadline, want a minute", undone)
	}
	if s.node().Spec.Unschedulable {
		t.Error("the node is still unschedulable")
	}
	if _, still := s.node().Labels[drain.ExcludeLabel]; still {
		t.Error("the node is still out of its load balancers")
	}

	// The machine lives on, and so does the agent: another notice is a new one.
	s.interrupt(30 * time.Second)
	s.must(s.lab.WaitNode(s.within(5*time.Second), s.doomed.Name(), cordoned))
	_ = a
}

// TestTracesOfAnotherBoot: what a machine finds when it comes back after a
// stop, a hibernation or a reboot.
func TestTracesOfAnotherBootAreUndoneAtStartAndNobodyElsesAre(t *testing.T) {
	t.Parallel()
	other := drain.Boot{ID: "another-boot", Uptime: func() time.Duration { return time.Hour }}
	for name, c := range map[string]struct {
		ours          bool // the cordon and the label are ours
		unschedulable bool // what the node shall be afterwards
	}{
		"a node that we cordoned can be used again":             {ours: true},
		"a node that somebody else had cordoned stays cordoned": {unschedulable: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, lab.Shared(t))
			state := stateOf(t, other, time.Minute)
			state.Cordoned, state.Excluded = c.ours, c.ours
			s.patchNode(state)
			s.start()

			s.must(s.lab.WaitNode(s.within(20*time.Second), s.doomed.Name(), clean))
			node := s.node()
			if node.Spec.Unschedulable != c.unschedulable {
				t.Errorf("unschedulable is %t, want %t", node.Spec.Unschedulable, c.unschedulable)
			}
			if _, kept := node.Labels[drain.ExcludeLabel]; kept == c.ours {
				t.Errorf("the load balancer label is there: %t, want %t", kept, !c.ours)
			}
			if !hasTaint(node, "example.com/keep") {
				t.Error("somebody else's taint is gone")
			}
		})
	}
}

func TestAFinishedDrainOfThisBootIsUndoneAtStartWhenItsNoticeIsGone(t *testing.T) {
	t.Parallel()
	boot, err := agent.ThisBoot()
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, lab.Shared(t))
	s.patchNode(stateOf(t, boot, -5*time.Minute))
	s.start()
	s.must(s.lab.WaitNode(s.within(20*time.Second), s.doomed.Name(), clean))
}

func TestTheCordonWinsAgainstOtherWritersOfTheNode(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.ready()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			body, _ := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{"example.com/n": time.Now().String()}}})
			_, _ = s.lab.Client().CoreV1().Nodes().Patch(ctx, s.doomed.Name(), types.MergePatchType, body, metav1.PatchOptions{})
		}
	}()
	s.interrupt(30 * time.Second)
	s.must(s.lab.WaitNode(s.within(10*time.Second), s.doomed.Name(), cordoned))
	stop()
	<-done
}

// patchNode leaves state on the doomed node as an earlier agent would have, and
// a taint that is somebody else's.
func (s *scene) patchNode(state drain.State) {
	s.t.Helper()
	text, err := json.Marshal(state)
	s.must(err)
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"annotations": map[string]string{drain.StateAnnotation: string(text)},
			"labels":      map[string]string{drain.ExcludeLabel: ""},
		},
		"spec": map[string]any{"unschedulable": true, "taints": []corev1.Taint{
			{Key: drain.TaintKey, Value: state.Kind, Effect: corev1.TaintEffectNoSchedule},
			{Key: "example.com/keep", Effect: corev1.TaintEffectNoSchedule},
		}},
	})
	s.must(err)
	_, err = s.lab.Client().CoreV1().Nodes().Patch(s.t.Context(), s.doomed.Name(), types.StrategicMergePatchType, body, metav1.PatchOptions{})
	s.must(err)
}
