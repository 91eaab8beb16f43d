package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement/status"
)

// The reasons of the conditions that an audit sets. They are stable.
const (
	// InForce and Invalid are the reasons of Accepted.
	InForce = "InForce"
	Invalid = "Invalid"
	// NoPodOnSpot, PodsOnSpot and NotInForce are the reasons of Safe.
	NoPodOnSpot = "NoPodOnSpot"
	PodsOnSpot  = "PodsOnSpot"
	NotInForce  = "NotInForce"
	// Alone and SharesPods are the reasons of Overlaps.
	Alone      = "Alone"
	SharesPods = "SharesPods"
)

// PolicyFinding is what was found of one policy.
type PolicyFinding struct {
	Name string
	// Pods counts the running and pending pods that the policy governs, Pending those
	// of them that wait for a node. Both are 0 of a policy that is not in force.
	Pods, Pending int32
	// OnSpot names those that run on spot nodes, as namespace/name, in order.
	OnSpot []string
	// Status is what the policy should say of itself: the counts and the conditions of
	// an audit, and none that others set. Where a condition has not changed, it is as it
	// was found, its time too.
	Status v1alpha1.PlacementPolicyStatus
	// Changed is true when the policy says something else now; Turned, when it began or
	// ceased to be safe.
	Changed, Turned bool
}

func (a *auditor) policyFindings() []PolicyFinding {
	findings := make([]PolicyFinding, 0, len(a.view.Policies))
	for i := range a.view.Policies {
		findings = append(findings, a.policyFinding(&a.view.Policies[i]))
	}
	slices.SortFunc(findings, func(x, y PolicyFinding) int { return strings.Compare(x.Name, y.Name) })
	return findings
}

func (a *auditor) policyFinding(policy *v1alpha1.PlacementPolicy) PolicyFinding {
	t := a.tallies[policy.Name]
	slices.Sort(t.onSpot)
	finding := PolicyFinding{Name: policy.Name, Pods: t.pods, Pending: t.pending, OnSpot: t.onSpot}
	old := ours(policy.Status)
	finding.Status = v1alpha1.PlacementPolicyStatus{
		ObservedGeneration: policy.Generation, Conditions: slices.Clone(old.Conditions),
	}
	err := a.rejected[policy.Name]
	if err == nil {
		onSpot := int32(len(t.onSpot)) //nolint:gosec // G115: no cluster has two thousand million pods
		finding.Status.Pods, finding.Status.OnSpot, finding.Status.Pending = new(t.pods), &onSpot, new(t.pending)
	}
	for _, condition := range []metav1.Condition{accepted(err), safe(t, err), overlaps(t)} {
		condition.ObservedGeneration, condition.LastTransitionTime = policy.Generation, metav1.NewTime(a.now.Truncate(time.Second))
		meta.SetStatusCondition(&finding.Status.Conditions, condition)
	}
	finding.Changed = !equality.Semantic.DeepEqual(old, finding.Status)
	finding.Turned = meta.IsStatusConditionFalse(old.Conditions, v1alpha1.ConditionSafe) !=
		meta.IsStatusConditionFalse(finding.Status.Conditions, v1alpha1.ConditionSafe)
	return finding
}

// ours is the part of a status that an audit sets.
func ours(all v1alpha1.PlacementPolicyStatus) v1alpha1.PlacementPolicyStatus {
	all.Conditions = slices.DeleteFunc(slices.Clone(all.Conditions), func(c metav1.Condition) bool {
		switch c.Type {
		case v1alpha1.ConditionAccepted, v1alpha1.ConditionSafe, v1alpha1.ConditionOverlaps:
			return false
		}
		return true
	})
	return all
}

func accepted(err error) metav1.Condition {
	if err != nil {
		return metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: Invalid, Message: status.Message(err.Error())}
	}
	return metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: InForce}
}

// named is how many pods or policies a message names at most.
const named = 3

func safe(t *tally, err error) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionSafe, Status: metav1.ConditionTrue, Reason: NoPodOnSpot}
	switch {
	case err != nil:
		condition.Status, condition.Reason = metav1.ConditionUnknown, NotInForce
	case len(t.onSpot) > 0:
		condition.Status, condition.Reason = metav1.ConditionFalse, PodsOnSpot
		condition.Message = status.Message(fmt.Sprintf("%d of %d pods run on spot nodes: %s", len(t.onSpot), t.pods, enumerate(t.onSpot)))
	}
	return condition
}

// overlaps names the other policies and counts no pods: a message that changed with
// every pod would be written with every pod.
func overlaps(t *tally) metav1.Condition {
	condition := metav1.Condition{Type: v1alpha1.ConditionOverlaps, Status: metav1.ConditionFalse, Reason: Alone}
	var parts []string
	if len(t.loses) > 0 {
		parts = append(parts, "some pods that it matches are governed by "+enumerate(slices.Sorted(maps.Keys(t.loses))))
	}
	if len(t.wins) > 0 {
		parts = append(parts, "some pods that it governs are matched by "+enumerate(slices.Sorted(maps.Keys(t.wins)))+" too")
	}
	if len(parts) > 0 {
		condition.Status, condition.Reason = metav1.ConditionTrue, SharesPods
		condition.Message = status.Message(strings.Join(parts, "; "))
	}
	return condition
}

// enumerate joins the first few names, and says how many more there are.
func enumerate(names []string) string {
	if len(names) <= named {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:named], ", "), len(names)-named)
}
