package audit

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
)

func TestAPodThatWaitsOnOurRequirementsAloneIsReadmitted(t *testing.T) {
	t.Parallel()
	const spec = "match: {podSelector: {matchLabels: {app: dns}}}"
	for name, c := range map[string]struct {
		policy   string
		metadata string
		waited   time.Duration
		node     string // the long-lived one, beside a spot node with room
		change   func(*corev1.Pod)
		known    bool // to every replica
		deleted  bool
	}{
		"after a minute":                            {"{" + spec + "}", dnsOwner, 60 * time.Second, full, nil, true, true},
		"not before":                                {"{" + spec + "}", dnsOwner, 59 * time.Second, full, nil, true, false},
		"not known much earlier":                    {"{" + spec + "}", dnsOwner, 44 * time.Second, full, nil, false, false},
		"never where the policy requires it":        {"{mode: Required, " + spec + "}", dnsOwner, time.Hour, full, nil, false, false},
		"later where the pool grows":                {"{longLivedPool: Autoscaled, " + spec + "}", dnsOwner, 4 * time.Minute, full, nil, false, false},
		"in the end where the pool should grow":     {"{longLivedPool: Autoscaled, " + spec + "}", dnsOwner, 5 * time.Minute, full, nil, true, true},
		"when the policy says, where it says":       {"{longLivedPool: Autoscaled, pendingTimeout: 2m, " + spec + "}", dnsOwner, 2 * time.Minute, full, nil, true, true},
		"not before the policy says":                {"{pendingTimeout: 2m, " + spec + "}", dnsOwner, 119 * time.Second, full, nil, true, false},
		"not at once, whatever the policy says":     {"{pendingTimeout: 1s, " + spec + "}", dnsOwner, 29 * time.Second, full, nil, true, false},
		"later where a long-lived node seems to do": {"{" + spec + "}", dnsOwner, time.Hour, steady, nil, true, false},
		"without a policy, by its own annotation": {
			"{match: {podSelector: {matchLabels: {app: other}}}}",
			dnsOwner + ", annotations: {ebbtide.dev/placement: long-lived}", time.Minute, full, nil, true, true,
		},
		"not without a controller": {"{" + spec + "}", "annotations: {}", time.Hour, full, nil, false, false},
		"not of a Job":             {"{" + spec + "}", "ownerReferences: [{apiVersion: batch/v1, kind: Job, name: x, uid: dns, controller: true}]", time.Hour, full, nil, false, false},
		"not while it is gated": {"{" + spec + "}", dnsOwner, time.Hour, full, func(p *corev1.Pod) {
			p.Status.Conditions[0].Reason = corev1.PodReasonSchedulingGated
		}, false, false},
		"not when it is ending": {"{" + spec + "}", dnsOwner, time.Hour, full, func(p *corev1.Pod) {
			p.DeletionTimestamp = &metav1.Time{Time: noon}
		}, false, false},
		"not when its author asks for the same himself": {"{" + spec + "}", dnsOwner, time.Hour, full, func(p *corev1.Pod) {
			p.Annotations[placement.DecisionAnnotation] = `{"policy":"dns","decision":"Unchanged","reason":"AuthorChose"}`
		}, false, false},
		"not when nobody says that it is ours": {"{" + spec + "}", dnsOwner, time.Hour, full, func(p *corev1.Pod) {
			delete(p.Annotations, placement.DecisionAnnotation)
		}, false, false},
		"not when its author keeps it off every node": {"{" + spec + "}", dnsOwner, time.Hour, full, func(p *corev1.Pod) {
			p.Spec.NodeSelector = map[string]string{"zone": "nowhere"}
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			waits := waiting(t, "dns-1", c.metadata, c.waited)
			if c.change != nil {
				c.change(waits)
			}
			view := View{
				Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", c.policy)},
				Nodes:    []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", c.node)},
				Pods:     []*corev1.Pod{waits},
			}
			first := Audit(view, placement.Rules{}, noon, Memory{})
			if len(first.Readmit) > 0 {
				t.Error("it is deleted in the audit that noticed it first")
			}
			if known := slices.Contains(first.Memory.LatelyPending(), "dns"); known != c.known {
				t.Errorf("known is %t, want %t", known, c.known)
			}
			second := Audit(view, placement.Rules{}, noon, first.Memory)
			if deleted := len(second.Readmit) == 1; deleted != c.deleted {
				t.Errorf("deleted is %t, want %t", deleted, c.deleted)
			}
		})
	}
}

// A pod that waits on full nodes is to run within a minute and a half of its creation.
// Its successor takes a second or two of that, and ten are left.
func TestAPodThatWaitsInVainWaitsForAMinuteAndALittle(t *testing.T) {
	t.Parallel()
	const latest = 80 * time.Second
	for name, room := range map[string]func(waited time.Duration) bool{
		"where no long-lived node has room":                 func(time.Duration) bool { return false },
		"where one has, and the scheduler will not have it": func(time.Duration) bool { return true },
		"where one has had until lately":                    func(waited time.Duration) bool { return waited < 59*time.Second },
		"where one has since a moment ago":                  func(waited time.Duration) bool { return waited > 59*time.Second },
		"where room comes and goes":                         func(waited time.Duration) bool { return int(waited/auditPeriod)%2 == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for first := range auditPeriod / time.Second {
				deleted := readmittedAfter(t, first*time.Second, room)
				if deleted < pendingTimeout || deleted > latest {
					t.Errorf("first seen after %d s it is deleted after %s, want %s to %s", first, deleted, pendingTimeout, latest)
				}
			}
		})
	}
}

// The scheduler and the API server give the condition of a pod that was gated the time
// at which it was created: to have been gated is not to have waited for a node.
func TestAPodThatWasGatedWaitsAsLongAsAnyOther(t *testing.T) {
	t.Parallel()
	waits := waiting(t, "dns-1", dnsOwner, time.Hour)
	gated := waits.DeepCopy()
	gated.Status.Conditions[0].Reason = corev1.PodReasonSchedulingGated
	view := func(pod *corev1.Pod) View {
		return View{
			Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", auto)},
			Nodes:    []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", full)},
			Pods:     []*corev1.Pod{pod},
		}
	}
	memory := Audit(view(gated), placement.Rules{}, noon, Memory{}).Memory
	for waited := auditPeriod; waited < 10*time.Minute; waited += auditPeriod {
		found := Audit(view(waits), placement.Rules{}, noon.Add(waited), memory)
		if len(found.Readmit) == 0 {
			memory = found.Memory
			continue
		}
		if got := found.Readmit[0].Waited; waited != pendingTimeout || got != waited {
			t.Errorf("it is deleted %s after it was last seen gated, as one that waited for %s; want %s", waited, got, pendingTimeout)
		}
		return
	}
	t.Error("it is never deleted")
}

// readmittedAfter audits once a period, and returns after how long a pod is deleted
// that a long-lived node has room for at these times.
func readmittedAfter(t *testing.T, first time.Duration, room func(time.Duration) bool) time.Duration {
	t.Helper()
	var memory Memory
	for waited := first; waited < 10*time.Minute; waited += auditPeriod {
		longLived := full
		if room(waited) {
			longLived = steady
		}
		found := Audit(View{
			Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", auto)},
			Nodes:    []*corev1.Node{node(t, "spot-1", spot), node(t, "steady-1", longLived)},
			Pods:     []*corev1.Pod{waiting(t, "dns-1", dnsOwner, 0)},
		}, placement.Rules{}, noon.Add(waited), memory)
		if len(found.Readmit) > 0 {
			return waited
		}
		memory = found.Memory
	}
	t.Fatal("it is never deleted")
	return 0
}

func TestThoseThatWaitLongestAreReadmittedFirst(t *testing.T) {
	t.Parallel()
	view := View{
		Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", auto)},
		Nodes:    []*corev1.Node{node(t, "spot-1", spot)},
		Pods: []*corev1.Pod{
			waiting(t, "b", dnsOwner, 2*time.Minute), waiting(t, "c", dnsOwner, 3*time.Minute), waiting(t, "a", dnsOwner, 2*time.Minute),
		},
	}
	first := Audit(view, placement.Rules{}, noon, Memory{})
	got := names(Audit(view, placement.Rules{}, noon, first.Memory).Readmit)
	if diff := cmp.Diff([]string{"c", "a", "b"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// A replica that was started after the pods were let in learns it from them, and for
// no longer than one that was there.
func TestAWorkloadIsKnownByThePodsThatWereLetIn(t *testing.T) {
	t.Parallel()
	letIn := running(t, "dns-1", "spot-1")
	letIn.Annotations = map[string]string{placement.DecisionAnnotation: placement.Record{
		Policy: "dns", Outcome: placement.PlacedPreferred, Reason: placement.PendingBefore,
	}.String()}
	letIn.CreationTimestamp = metav1.NewTime(noon)
	view := View{Pods: []*corev1.Pod{letIn}}
	for after, want := range map[time.Duration][]types.UID{0: {"dns"}, remembered - time.Second: {"dns"}, remembered: nil} {
		if got := Audit(view, placement.Rules{}, noon.Add(after), Memory{}).Memory.LatelyPending(); !slices.Equal(got, want) {
			t.Errorf("after %s it knows of %q, want %q", after, got, want)
		}
	}
	known := Audit(view, placement.Rules{}, noon, Memory{}).Memory
	if got := Audit(View{}, placement.Rules{}, noon.Add(remembered), known).Memory.LatelyPending(); len(got) > 0 {
		t.Errorf("%q are remembered for too long", got)
	}
}
