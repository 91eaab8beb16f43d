package placement

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// room is a Capacity that says what it is told, and counts how often it is asked.
type room struct {
	nodes   int
	pending bool
	asked   int
}

func (r *room) LongLivedNodes(*corev1.Pod, int) int { r.asked++; return r.nodes }
func (r *room) LatelyPending(*corev1.Pod) bool      { return r.pending }

const autoPod = "metadata: {labels: {want: auto}}\n"

// autoCases are what the mode Auto makes of the cluster's state.
var autoCases = map[string]struct {
	pod      string
	pool     v1alpha1.LongLivedPool
	capacity *room
	reason   Reason
	asked    int
}{
	"two long-lived nodes are enough":                       {autoPod, "", &room{nodes: 2}, EnoughLongLivedNodes, 1},
	"one is too few":                                        {autoPod, "", &room{nodes: 1}, TooFewLongLivedNodes, 1},
	"none is too few":                                       {autoPod, v1alpha1.Fixed, &room{}, TooFewLongLivedNodes, 1},
	"unknown nodes are not relied on":                       {autoPod, "", nil, CapacityUnknown, 0},
	"an autoscaled pool needs no node":                      {autoPod, v1alpha1.Autoscaled, &room{}, PoolAutoscaled, 0},
	"a pod that was Pending is not tried again":             {autoPod, "", &room{nodes: 9, pending: true}, PendingBefore, 0},
	"not even when the pool is autoscaled":                  {autoPod, v1alpha1.Autoscaled, &room{pending: true}, PendingBefore, 0},
	"the nodes are not asked about a contradiction":         {autoPod + "spec: {nodeSelector: {lifecycle: spot}}", "", &room{nodes: 2}, Contradiction, 0},
	"a copy of a placed pod stays required":                 {autoPod + termsOf(Rules{}), "", &room{}, AlreadyPlaced, 0},
	"an annotation without a policy asks for the mode Auto": {"metadata: {annotations: {ebbtide.dev/placement: long-lived}}", "", &room{nodes: 2}, EnoughLongLivedNodes, 1},
	"it too is preferred where there is no room":            {"metadata: {annotations: {ebbtide.dev/placement: long-lived}}", v1alpha1.Autoscaled, &room{}, TooFewLongLivedNodes, 1},
}

// termsOf is a spec with the rules' requirements as its only term.
func termsOf(rules Rules) string {
	var expressions []string
	for _, r := range rules.Requirements() {
		expressions = append(expressions, "{key: "+r.Key+", operator: "+string(r.Operator)+", values: ["+quoted(r.Values)+"]}")
	}
	return terms("[{matchExpressions: [" + strings.Join(expressions, ", ") + "]}]")
}

func quoted(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return `"` + strings.Join(values, `", "`) + `"`
}

func TestAutoFollowsTheCluster(t *testing.T) {
	t.Parallel()
	for name, c := range autoCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := placementtest.Policy(t, "auto", `{match: {podSelector: {matchLabels: {want: auto}}}}`)
			policy.Spec.LongLivedPool = c.pool
			var capacity Capacity
			if c.capacity != nil {
				capacity = c.capacity
			}
			pod := placementtest.Pod(t, c.pod)
			decision := Decide(pod, Namespace{Name: "default"}, compiled(t, policy), Rules{}, capacity)
			if decision.Reason != c.reason {
				t.Errorf("reason %q, want %q", decision.Reason, c.reason)
			}
			if c.capacity != nil && c.capacity.asked != c.asked {
				t.Errorf("the nodes were asked %d times, want %d", c.capacity.asked, c.asked)
			}
			checkPatch(t, decision, pod, decision.Apply(pod))
		})
	}
}

func TestWhatWasRequiredStaysRequiredWhenNodesGo(t *testing.T) {
	t.Parallel()
	policies := compiled(t, placementtest.Policy(t, "auto", `{match: {podSelector: {matchLabels: {want: auto}}}}`))
	pod := placementtest.Pod(t, autoPod)
	placed := Decide(pod, Namespace{}, policies, Rules{}, &room{nodes: 2}).Apply(pod)
	again := Decide(placed, Namespace{}, policies, Rules{}, &room{})
	if again.Outcome != PlacedRequired || again.Patch() != nil {
		t.Errorf("%s by %s with patch %s, want Required and no patch", again.Outcome, again.Reason, placementtest.JSON(t, again.Patch()))
	}
	if record, found := ReadRecord(placed); !found || record.Reason != EnoughLongLivedNodes {
		t.Errorf("the pod records %+v, want the first reason", record)
	}
}

func TestTheNodesAreAskedWithThePolicysTolerations(t *testing.T) {
	t.Parallel()
	policies := compiled(t, placementtest.Policy(t, "auto", `{match: {podSelector: {matchLabels: {want: auto}}}, tolerations: [{key: dedicated}]}`))
	pod := placementtest.Pod(t, autoPod)
	pod.Spec.Tolerations = make([]corev1.Toleration, 1, 4)
	pod.Spec.Tolerations[0] = corev1.Toleration{Key: "own", Operator: corev1.TolerationOpExists}
	seen := &tolerationSpy{}
	decision := Decide(pod, Namespace{}, policies, Rules{}, seen)
	if len(seen.tolerations) != 2 || seen.tolerations[1].Key != "dedicated" {
		t.Errorf("the nodes were asked with %v, want the policy's toleration too", seen.tolerations)
	}
	if decision.Reason != EnoughLongLivedNodes {
		t.Errorf("reason %s, want EnoughLongLivedNodes", decision.Reason)
	}
	if spare := pod.Spec.Tolerations[:2]; spare[1] != (corev1.Toleration{}) {
		t.Errorf("the pod that was given was written to: %v", spare)
	}
}

type tolerationSpy struct{ tolerations []corev1.Toleration }

func (s *tolerationSpy) LongLivedNodes(pod *corev1.Pod, enough int) int {
	s.tolerations = pod.Spec.Tolerations
	return enough
}
func (s *tolerationSpy) LatelyPending(*corev1.Pod) bool { return false }

func TestADecisionIsRecordedAndExplained(t *testing.T) {
	t.Parallel()
	policies := casePolicies(t)
	pod := placementtest.Pod(t, "metadata: {labels: {want: preferred, x: y}, annotations: {ebbtide.dev/placement: nonsense}, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: db, uid: u, controller: true}]}")
	decision := Decide(pod, Namespace{}, policies, Rules{}, nil)
	if diff := cmp.Diff([]string{"preferred"}, decision.Overlapped); diff != "" {
		t.Errorf("overlapped (-want +got):\n%s", diff)
	}
	want := `the policy requires a long-lived node; policy "gateways", which wins over ["preferred"]; ` +
		`annotation ebbtide.dev/placement="nonsense" is neither long-lived nor any and is ignored`
	if got := decision.Message(); got != want {
		t.Errorf("message\n%s\nwant\n%s", got, want)
	}
	if !decision.Actionable() {
		t.Error("a mistake in the annotation is nothing to act on")
	}
	record, found := ReadRecord(decision.Apply(pod))
	if want := (Record{Policy: "gateways", Outcome: PlacedRequired, Reason: PolicyRequires}); !found || record != want {
		t.Errorf("recorded %+v, want %+v", record, want)
	}
}

func TestARecordThatNobodyCouldHaveWrittenIsNone(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"not JSON": "{", "no reason": `{"policy":"a"}`, "an unknown reason": `{"policy":"a","decision":"Required","reason":"Whim"}`,
		"a reason of another decision": `{"policy":"a","decision":"Required","reason":"PolicyPrefers"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{}
			pod.Annotations = map[string]string{DecisionAnnotation: value}
			if record, found := ReadRecord(pod); found {
				t.Errorf("read %+v", record)
			}
		})
	}
}

func TestAPodWithFullAnnotationsIsPlacedWithoutARecord(t *testing.T) {
	t.Parallel()
	pod := placementtest.Pod(t, required)
	pod.Annotations = map[string]string{"example.com/big": strings.Repeat("x", maxAnnotations-len("example.com/big"))}
	decision := Decide(pod, Namespace{}, casePolicies(t), Rules{}, nil)
	after := decision.Apply(pod)
	if _, found := after.Annotations[DecisionAnnotation]; found {
		t.Error("the annotations are larger than the API server takes")
	}
	if got := allowed(t, after, caseNodes); got != anyLongLived {
		t.Errorf("the pod may run on %q, want %q", got, anyLongLived)
	}
	checkPatch(t, decision, pod, after)
}

func TestEveryReasonLeadsToOneOutcomeAndHasWords(t *testing.T) {
	t.Parallel()
	for _, reason := range Reasons() {
		switch reason.Outcome() {
		case PlacedRequired, PlacedPreferred, Unchanged:
		default:
			t.Errorf("%s leads to %q", reason, reason.Outcome())
		}
		if (Decision{Reason: reason}).Message() == "" {
			t.Errorf("%s has no words", reason)
		}
	}
}
