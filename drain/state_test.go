package drain

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// look is what a drain may change about a node.
type look struct {
	Unschedulable bool
	Taints        []corev1.Taint
	Labels        map[string]string
	State         *State
	Annotations   map[string]string // without the state
}

func nodeOf(t *testing.T, l look) *corev1.Node {
	t.Helper()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "n", ResourceVersion: "7", Labels: l.Labels, Annotations: map[string]string{},
		},
		Spec: corev1.NodeSpec{Unschedulable: l.Unschedulable, Taints: l.Taints},
	}
	maps.Copy(node.Annotations, l.Annotations)
	if l.State != nil {
		text, err := json.Marshal(l.State)
		if err != nil {
			t.Fatal(err)
		}
		node.Annotations[StateAnnotation] = string(text)
	}
	return node
}

// patched returns how node looks when the API server has applied patch, which
// must name the version that it was made for.
func patched(t *testing.T, node *corev1.Node, patch nodePatch) look {
	t.Helper()
	if patch.Metadata.ResourceVersion != node.ResourceVersion {
		t.Errorf("the patch is for version %q of the node, which is %q: another's write would be lost",
			patch.Metadata.ResourceVersion, node.ResourceVersion)
	}
	before, err := json.Marshal(node)
	if err != nil {
		t.Fatal(err)
	}
	change, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	after, err := strategicpatch.StrategicMergePatch(before, change, corev1.Node{})
	if err != nil {
		t.Fatal(err)
	}
	var result corev1.Node
	if err := json.Unmarshal(after, &result); err != nil {
		t.Fatal(err)
	}
	state, err := ReadState(&result)
	if err != nil {
		t.Fatal(err)
	}
	delete(result.Annotations, StateAnnotation)
	return look{result.Spec.Unschedulable, result.Spec.Taints, result.Labels, state, result.Annotations}
}

var (
	ourTaint   = corev1.Taint{Key: TaintKey, Value: "SpotInterruption", Effect: corev1.TaintEffectNoSchedule}
	oldTaint   = corev1.Taint{Key: TaintKey, Value: "RebalanceAdvice", Effect: corev1.TaintEffectPreferNoSchedule}
	otherTaint = corev1.Taint{Key: "example.com/gpu", Value: "yes", Effect: corev1.TaintEffectNoExecute}
)

func TestACordonLeavesTheNodeMarkedAndOthersAlone(t *testing.T) {
	t.Parallel()
	notice := State{Notice: "i-1", Kind: "SpotInterruption"}
	with := func(change func(*State)) *State {
		state := notice
		change(&state)
		return &state
	}
	cordonedByUs := with(func(s *State) { s.Cordoned = true })
	cases := map[string]struct{ before, after look }{
		"a schedulable node is cordoned by us": {
			look{},
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: cordonedByUs},
		},
		"a node that others cordoned is not ours to uncordon": {
			look{Unschedulable: true},
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: &notice},
		},
		"others' taints, labels and annotations stay": {
			look{Taints: []corev1.Taint{otherTaint}, Labels: map[string]string{"zone": "a"}, Annotations: map[string]string{"x": "y"}},
			look{
				Unschedulable: true, Taints: []corev1.Taint{otherTaint, ourTaint}, State: cordonedByUs,
				Labels: map[string]string{"zone": "a"}, Annotations: map[string]string{"x": "y"},
			},
		},
		"our earlier taint is replaced": {
			look{Taints: []corev1.Taint{oldTaint, otherTaint}},
			look{Unschedulable: true, Taints: []corev1.Taint{otherTaint, ourTaint}, State: cordonedByUs},
		},
		"a second drain remembers that the first one cordoned": {
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: &State{Notice: "i-0", Cordoned: true}},
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: cordonedByUs},
		},
		"a second drain remembers that others had cordoned": {
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: &State{Notice: "i-0"}},
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: &notice},
		},
		"a second drain remembers that the first one excluded": {
			look{Unschedulable: true, Labels: map[string]string{ExcludeLabel: ""}, State: &State{Notice: "i-0", BootID: "another", Cordoned: true, Excluded: true}},
			look{
				Unschedulable: true, Taints: []corev1.Taint{ourTaint}, Labels: map[string]string{ExcludeLabel: ""},
				State: with(func(s *State) { s.Cordoned, s.Excluded = true, true }),
			},
		},
		"a node that was put back is cordoned anew": {
			look{State: &State{Notice: "i-0", PutBack: true}},
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: cordonedByUs},
		},
		"a node that was put back, and that others have cordoned since, is not ours to uncordon": {
			look{Unschedulable: true, State: &State{Notice: "i-0", PutBack: true}},
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: &notice},
		},
		"a node that somebody uncordoned meanwhile is cordoned by us": {
			look{State: &State{Notice: "i-0"}},
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: cordonedByUs},
		},
		"a state that nobody can read is overwritten": {
			look{Annotations: map[string]string{StateAnnotation: "garbage"}},
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: cordonedByUs},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := nodeOf(t, c.before)
			patch, written := markPatch(node, notice, noon)
			got := patched(t, node, patch)
			if diff := cmp.Diff(c.after, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("node (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(got.State, &written); diff != "" {
				t.Errorf("said to be written (-node +said):\n%s", diff)
			}
		})
	}
}

func TestAnUndoTakesBackWhatWasOursAndNothingElse(t *testing.T) {
	t.Parallel()
	labels := map[string]string{ExcludeLabel: "", "zone": "a"}
	cases := map[string]struct{ before, after look }{
		"what we cordoned, tainted and excluded": {
			look{Unschedulable: true, Taints: []corev1.Taint{otherTaint, ourTaint}, Labels: labels, State: &State{Cordoned: true, Excluded: true}},
			look{Taints: []corev1.Taint{otherTaint}, Labels: map[string]string{"zone": "a"}},
		},
		"a node that others cordoned stays cordoned": {
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, State: &State{}},
			look{Unschedulable: true},
		},
		"a node that others excluded stays excluded": {
			look{Unschedulable: true, Taints: []corev1.Taint{ourTaint}, Labels: labels, State: &State{Cordoned: true}},
			look{Labels: labels},
		},
		"a node that others uncordoned stays schedulable": {
			look{Taints: []corev1.Taint{ourTaint}, State: &State{Cordoned: true}, Annotations: map[string]string{"x": "y"}},
			look{Annotations: map[string]string{"x": "y"}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := nodeOf(t, c.before)
			if diff := cmp.Diff(c.after, putBack(t, node, *c.before.State), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("node (-want +got):\n%s", diff)
			}
		})
	}
}

// putBack returns how node looks when it was put back and its state was taken off. In
// between it has to say that there is nothing to put back any more: whoever reads it
// then must not take a cordon of others for ours.
func putBack(t *testing.T, node *corev1.Node, state State) look {
	t.Helper()
	between := patched(t, node, putBackPatch(node, state))
	want := state
	want.PutBack, want.Cordoned, want.Excluded = true, false, false
	if diff := cmp.Diff(&want, between.State); diff != "" {
		t.Errorf("the state in between (-want +got):\n%s", diff)
	}
	last := nodeOf(t, between)
	return patched(t, last, forgetPatch(last))
}

func TestACordonAndItsUndoLeaveNoTrace(t *testing.T) {
	t.Parallel()
	before := look{Taints: []corev1.Taint{otherTaint}, Labels: map[string]string{"zone": "a"}, Annotations: map[string]string{"x": "y"}}
	node := nodeOf(t, before)
	patch, _ := markPatch(node, State{Kind: "SpotInterruption"}, noon)
	marked := nodeOf(t, patched(t, node, patch))
	patch, needed := excludePatch(marked, *patched(t, node, patch).State)
	if !needed {
		t.Fatal("a node without the label needs no exclusion")
	}
	excluded := patched(t, marked, patch)
	if _, labelled := excluded.Labels[ExcludeLabel]; !labelled || !excluded.State.Excluded || !excluded.State.Cordoned {
		t.Fatalf("excluded as %+v with state %+v", excluded, excluded.State)
	}
	last := nodeOf(t, excluded)
	if diff := cmp.Diff(before, putBack(t, last, *excluded.State), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("node (-before +after):\n%s", diff)
	}
}

func TestANodeThatOthersExcludedIsNotExcludedAgain(t *testing.T) {
	t.Parallel()
	node := nodeOf(t, look{Labels: map[string]string{ExcludeLabel: "false"}})
	if patch, needed := excludePatch(node, State{}); needed {
		t.Errorf("would patch %+v", patch)
	}
}

func TestAStateIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	full := State{
		Notice: "i-1", Source: "aws", Kind: "SpotInterruption", Action: "terminate", Deadline: noon,
		DeadlineKind: "exact", BootID: "boot-1", DeadlineUptime: 42.5, Cordoned: true, Excluded: true,
	}
	cases := map[string]struct {
		annotations map[string]string
		want        *State
		fails       bool
	}{
		"no annotation is no state":            {map[string]string{"x": "y"}, nil, false},
		"a whole state":                        {nodeOf(t, look{State: &full}).Annotations, &full, false},
		"a field of a newer version is let by": {map[string]string{StateAnnotation: `{"notice":"i-1","colour":"red"}`}, &State{Notice: "i-1"}, false},
		"an empty annotation is an error":      {map[string]string{StateAnnotation: ""}, nil, true},
		"garbage is an error":                  {map[string]string{StateAnnotation: "garbage"}, nil, true},
		"half a state is an error":             {map[string]string{StateAnnotation: `{"notice":"i-`}, nil, true},
		"a date that is none is an error":      {map[string]string{StateAnnotation: `{"deadline":"soon"}`}, nil, true},
		"a list is an error":                   {map[string]string{StateAnnotation: `[]`}, nil, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: types.UID("u"), Annotations: c.annotations}}
			got, err := ReadState(node)
			if (err != nil) != c.fails {
				t.Fatalf("error is %v, want one: %v", err, c.fails)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADeadlineIsReckonedFromTheBootAndNotFromTheWallClock(t *testing.T) {
	t.Parallel()
	boot := func(id string, uptime time.Duration) Boot {
		return Boot{ID: id, Uptime: func() time.Duration { return uptime }}
	}
	var state State
	state.SetDeadline(noon.Add(2*time.Minute), noon, boot("one", time.Hour))
	if !state.Deadline.Equal(noon.Add(2*time.Minute)) || state.BootID != "one" || state.DeadlineUptime != 3720 {
		t.Fatalf("wrote %v on boot %q at %v s", state.Deadline, state.BootID, state.DeadlineUptime)
	}
	yesterday := noon.Add(-24 * time.Hour)
	cases := map[string]struct {
		now  time.Time
		boot Boot
		left time.Duration
		same bool
	}{
		"half a minute later":               {noon.Add(30 * time.Second), boot("one", time.Hour+30*time.Second), 90 * time.Second, true},
		"after the wall clock was set back": {yesterday, boot("one", time.Hour+30*time.Second), 90 * time.Second, true},
		"after the deadline":                {noon.Add(3 * time.Minute), boot("one", time.Hour+3*time.Minute), -time.Minute, true},
		"on another boot":                   {noon.Add(time.Minute), boot("two", 0), 62 * time.Minute, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deadline, same := state.OnBoot(c.now, c.boot)
			if got := deadline.Sub(c.now); got != c.left || same != c.same {
				t.Errorf("%v left, of this boot: %v; want %v, %v", got, same, c.left, c.same)
			}
		})
	}
}

// An agent that was killed had reckoned a deadline; the next one cordons before it
// has read that, with a deadline of its own.
func TestACordonKeepsTheNearestDeadlineOfItsBootAndNotice(t *testing.T) {
	t.Parallel()
	boot := func(id string) Boot { return Boot{ID: id, Uptime: func() time.Duration { return time.Hour }} }
	const exact, estimated = "exact", "estimated"
	of := func(boot Boot, notice, kind string, left time.Duration) State {
		state := State{Notice: notice, Kind: "SpotInterruption", DeadlineKind: kind, Cordoned: true}
		state.SetDeadline(noon.Add(left), noon, boot)
		return state
	}
	this := boot("this")
	cases := map[string]struct {
		earlier State
		left    time.Duration
		kind    string
	}{
		"one that is nearer is kept":              {of(this, "i-1", exact, 40*time.Second), 40 * time.Second, exact},
		"an estimate that is nearer is kept":      {of(this, "i-1", estimated, 40*time.Second), 40 * time.Second, estimated},
		"one that is later is replaced":           {of(this, "i-1", estimated, 3*time.Minute), 2 * time.Minute, exact},
		"one that has passed is replaced":         {of(this, "i-1", estimated, -time.Second), 2 * time.Minute, exact},
		"one of another boot is replaced":         {of(boot("other"), "i-1", estimated, 40*time.Second), 2 * time.Minute, exact},
		"one of another notice is replaced":       {of(this, "i-0", estimated, 40*time.Second), 2 * time.Minute, exact},
		"one that was never reckoned is replaced": {State{Notice: "i-1", BootID: "this", Cordoned: true}, 2 * time.Minute, exact},
		"one by a wall clock set since is kept as it is": {func() State {
			state := of(this, "i-1", exact, 40*time.Second)
			state.Deadline = state.Deadline.Add(-24 * time.Hour)
			return state
		}(), 40 * time.Second, exact},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := nodeOf(t, look{Unschedulable: true, State: &c.earlier})
			patch, _ := markPatch(node, of(this, "i-1", exact, 2*time.Minute), noon)
			want := of(this, "i-1", c.kind, c.left)
			if diff := cmp.Diff(&want, patched(t, node, patch).State); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}
