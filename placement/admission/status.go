package admission

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/status"
)

// Reason is a reason of the condition Rendered. Beside these there are those of
// [placement.RefusalReason]. The values are stable.
type Reason string

// The reasons.
const (
	// InForce: the policy is part of the MutatingAdmissionPolicy that the API server has.
	// It acts on it within a second or two.
	InForce Reason = "InForce"
	// Invalid: the policy cannot be understood; the condition Accepted says the same.
	Invalid Reason = "Invalid"
	// NotServed: the API server has no such kind.
	NotServed Reason = "NotServed"
	// TrialFailed: on trial, sample pods did not come to what they should have. What was
	// in force before still is.
	TrialFailed Reason = "TrialFailed"
	// TrialInconclusive: no trial could be held, or not to its end. What was in force
	// before still is.
	TrialInconclusive Reason = "TrialInconclusive"
	// NotWritten: the API server could not be asked what there is, or did not take it.
	NotWritten Reason = "NotWritten"
)

// verdict is what became of a rendering. InForce has no message.
type verdict struct {
	reason  Reason
	message string
}

// problem is nil when the rendering is in force.
func (v verdict) problem() error {
	if v.reason == InForce {
		return nil
	}
	return errors.New(v.message)
}

// rendered is what a policy should say of itself, and false when that is not known: it
// is newer than what was rendered, and will be rendered soon.
func rendered(policy *v1alpha1.PlacementPolicy, wanted placement.Policies, refused []placement.Refusal, found verdict) (metav1.Condition, bool) {
	condition := metav1.Condition{
		Type: v1alpha1.ConditionRendered, Status: metav1.ConditionFalse, ObservedGeneration: policy.Generation,
		Reason: string(found.reason), Message: found.message,
	}
	if found.reason == InForce {
		condition.Status = metav1.ConditionTrue
	}
	generation, known := wanted.Generation(policy.Name)
	if !known {
		_, rejections := placement.Compile([]v1alpha1.PlacementPolicy{*policy})
		if len(rejections) == 0 {
			return metav1.Condition{}, false
		}
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, string(Invalid), rejections[0].Err.Error()
	} else if generation != policy.Generation {
		return metav1.Condition{}, false
	}
	for _, refusal := range refused {
		if refusal.Policy == policy.Name && found.reason != NotServed {
			condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, string(refusal.Reason), refusal.Message
		}
	}
	condition.Message = status.Message(condition.Message)
	return condition, true
}

// tell has each policy say whether it is in force, where it does not yet.
func (t *term) tell(ctx context.Context, wanted wish, found verdict) error {
	policies, err := t.listPolicies(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for i := range policies {
		said := policies[i].Status.Conditions
		condition, known := rendered(&policies[i], wanted.policies, wanted.rendering.Refused, found)
		if !known {
			continue
		}
		says := []metav1.Condition{}
		if before := meta.FindStatusCondition(said, v1alpha1.ConditionRendered); before != nil {
			says = append(says, *before)
		}
		condition.LastTransitionTime = metav1.NewTime(time.Now().Truncate(time.Second))
		if meta.SetStatusCondition(&says, condition) {
			problems = append(problems, t.say(ctx, policies[i].Name, says))
		}
	}
	return errors.Join(problems...)
}

func (k *Keeper) listPolicies(ctx context.Context) ([]v1alpha1.PlacementPolicy, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	list, err := k.dynamic.Resource(v1alpha1.PlacementPolicies).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing policies: %w", err)
	}
	policies := make([]v1alpha1.PlacementPolicy, len(list.Items))
	for i := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &policies[i]); err != nil {
			return nil, fmt.Errorf("reading policy %q: %w", list.Items[i].GetName(), err)
		}
	}
	return policies, nil
}

// say writes our conditions of a policy; none takes away what we said before.
func (k *Keeper) say(ctx context.Context, name string, conditions []metav1.Condition) error {
	_, err := status.Write(ctx, k.dynamic, FieldManager, name, v1alpha1.PlacementPolicyStatus{Conditions: conditions})
	return err
}
