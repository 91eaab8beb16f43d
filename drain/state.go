package drain

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Boot tells one run of a machine from the next and counts its seconds. The
// wall clock may be set while a drain is under way; this one is not.
type Boot struct {
	// ID changes with every boot.
	ID string
	// Uptime is the time since that boot, counting on while the machine
	// sleeps; never nil.
	Uptime func() time.Duration
}

// State is what a node carries in [StateAnnotation]: enough for the next agent
// to go on with a drain, and to undo what was done and nothing else.
type State struct {
	// Notice, Source, Kind and Action name what the drain is for.
	Notice string `json:"notice"`
	Source string `json:"source"`
	Kind   string `json:"kind"`
	Action string `json:"action"`
	// Deadline is D by the wall clock, for people and for another machine.
	Deadline     time.Time `json:"deadline"`
	DeadlineKind string    `json:"deadlineKind"`
	// BootID is the boot during which this was written, DeadlineUptime the
	// same D in seconds since that boot.
	BootID         string  `json:"bootID"`
	DeadlineUptime float64 `json:"deadlineUptimeSeconds"`
	// Cordoned is true when the node was schedulable before us, Excluded when
	// it had no [ExcludeLabel].
	Cordoned bool `json:"cordoned"`
	Excluded bool `json:"excluded,omitempty"`
	// PutBack is true when the node itself is as it was before, and what is left to
	// do is about its pods: see [Client.UndoDrain]. Such a state speaks of no drain
	// that is under way.
	PutBack bool `json:"putBack,omitempty"`
	// Agent is the name of the pod whose agent wrote this; empty when it is not known.
	Agent string `json:"agent,omitempty"`
	// Advice is what is done for an advice, of which nothing is forced and Deadline is
	// the end: the node is not cordoned, and the scheduler only prefers others. Empty
	// means a drain.
	Advice string `json:"advice,omitempty"`
}

// SetDeadline writes D in both reckonings; now is the moment at which boot is
// asked.
func (s *State) SetDeadline(deadline, now time.Time, boot Boot) {
	s.Deadline = deadline.UTC().Round(time.Millisecond)
	s.BootID = boot.ID
	s.DeadlineUptime = (boot.Uptime() + deadline.Sub(now)).Round(time.Millisecond).Seconds()
}

// OnBoot returns D on the clock that now was read from, and whether the state
// is of this boot; of another boot nothing it says is true any more.
func (s *State) OnBoot(now time.Time, boot Boot) (deadline time.Time, same bool) {
	left := time.Duration(s.DeadlineUptime*float64(time.Second)) - boot.Uptime()
	return now.Add(left), s.BootID == boot.ID
}

// Keep takes over from the state that the node carried before, of whichever boot,
// what it says of the node's looks before us. It also takes over the deadline of
// the same boot and notice where that is the nearer one: an agent that starts anew
// reckons its own, which must not give away what its predecessor knew. A deadline
// that has passed is that of an interruption which the machine has outlived, and that
// of an advice is no deadline of a drain. s is one whose deadline was set a moment
// before now.
func (s *State) Keep(earlier State, now time.Time) {
	s.Cordoned = s.Cordoned || earlier.Cordoned
	s.Excluded = earlier.Excluded
	s.keepDeadline(earlier, now)
}

func (s *State) keepDeadline(earlier State, now time.Time) {
	uptime := s.DeadlineUptime - s.Deadline.Sub(now).Seconds()
	nearer := earlier.DeadlineUptime < s.DeadlineUptime && earlier.DeadlineUptime > uptime
	alike := earlier.BootID == s.BootID && earlier.Notice == s.Notice && (earlier.Advice == "") == (s.Advice == "")
	if !alike || s.Deadline.IsZero() || !nearer {
		return
	}
	// By today's wall clock: it may have been set since.
	by := time.Duration((s.DeadlineUptime - earlier.DeadlineUptime) * float64(time.Second))
	s.Deadline = s.Deadline.Add(-by).Round(time.Millisecond)
	s.DeadlineUptime, s.DeadlineKind = earlier.DeadlineUptime, earlier.DeadlineKind
}

// ReadState returns the state that node carries, nil when it carries none. An
// annotation that cannot be read is an error: it may be another version's.
func ReadState(node *corev1.Node) (*State, error) {
	text, ok := node.Annotations[StateAnnotation]
	if !ok {
		return nil, nil //nolint:nilnil // no annotation is the usual case and not an error
	}
	var state State
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		return nil, fmt.Errorf("reading annotation %q of node %q: %w", StateAnnotation, node.Name, err)
	}
	return &state, nil
}

// nodePatch is the strategic merge patch that Mark, Exclude and UndoDrain share.
// spec.taints is one atomic list to the API, so a patch carries all of them and
// the resourceVersion they were read at.
type nodePatch struct {
	Metadata struct {
		ResourceVersion string             `json:"resourceVersion,omitempty"`
		Annotations     map[string]*string `json:"annotations,omitempty"`
		Labels          map[string]*string `json:"labels,omitempty"`
	} `json:"metadata"`
	Spec *nodeSpecPatch `json:"spec,omitempty"`
}

type nodeSpecPatch struct {
	Unschedulable *bool           `json:"unschedulable,omitempty"`
	Taints        *[]corev1.Taint `json:"taints,omitempty"`
}

// markPatch cordons node for state and writes the state down, in one patch, with
// what is to be kept of an earlier one. For an advice it marks the node softly.
func markPatch(node *corev1.Node, state State, now time.Time) (nodePatch, State) {
	if state.Advice != "" {
		return softMark(node, state, now)
	}
	state.Cordoned = !node.Spec.Unschedulable
	// An earlier state that cannot be read is overwritten: this notice is now.
	if earlier, err := ReadState(node); err == nil && earlier != nil {
		state.Keep(*earlier, now)
	}
	taints := withTaint(node, state.Kind, corev1.TaintEffectNoSchedule)
	unschedulable := true
	patch := statePatch(node, state)
	patch.Spec = &nodeSpecPatch{Unschedulable: &unschedulable, Taints: &taints}
	return patch, state
}

// excludePatch takes node out of external load balancers. It is empty when
// somebody else has already done so.
func excludePatch(node *corev1.Node, state State) (nodePatch, bool) {
	if _, already := node.Labels[ExcludeLabel]; already {
		return nodePatch{}, false
	}
	state.Excluded = true
	patch := statePatch(node, state)
	value := ""
	patch.Metadata.Labels = map[string]*string{ExcludeLabel: &value}
	return patch, true
}

// putBackPatch takes back what state says we did to node, and our taint. The state
// stays and says so: as long as the node carries one, somebody goes on.
func putBackPatch(node *corev1.Node, state State) nodePatch {
	left := state
	left.PutBack, left.Cordoned, left.Excluded = true, false, false
	patch := statePatch(node, left)
	taints := othersTaints(node)
	patch.Spec = &nodeSpecPatch{Taints: &taints}
	state.putBack(&patch)
	return patch
}

// putBack adds to a patch of the node's spec what takes back the cordon and the
// exclusion, as far as they were ours.
func (s *State) putBack(patch *nodePatch) {
	if s.Excluded {
		patch.Metadata.Labels = map[string]*string{ExcludeLabel: nil}
	}
	if s.Cordoned {
		schedulable := false
		patch.Spec.Unschedulable = &schedulable
	}
}

// forgetPatch takes the state off node.
func forgetPatch(node *corev1.Node) nodePatch {
	var patch nodePatch
	patch.Metadata.ResourceVersion = node.ResourceVersion
	patch.Metadata.Annotations = map[string]*string{StateAnnotation: nil}
	return patch
}

func statePatch(node *corev1.Node, state State) nodePatch {
	text, err := json.Marshal(state)
	if err != nil {
		panic(err) // unreachable: strings, numbers and times always marshal
	}
	value := string(text)
	var patch nodePatch
	patch.Metadata.ResourceVersion = node.ResourceVersion
	patch.Metadata.Annotations = map[string]*string{StateAnnotation: &value}
	return patch
}

// withTaint returns a copy of node's taints in which ours is as given.
func withTaint(node *corev1.Node, value string, effect corev1.TaintEffect) []corev1.Taint {
	return append(othersTaints(node), corev1.Taint{Key: TaintKey, Value: value, Effect: effect})
}

// othersTaints returns a copy of node's taints without ours; never nil, since a
// nil list would vanish from a patch.
func othersTaints(node *corev1.Node) []corev1.Taint {
	kept := make([]corev1.Taint, 0, len(node.Spec.Taints)+1)
	for _, taint := range node.Spec.Taints {
		if taint.Key != TaintKey {
			kept = append(kept, taint)
		}
	}
	return kept
}
