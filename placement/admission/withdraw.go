package admission

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// Withdraw takes back what Run has done, in this process or in an earlier one: it
// deletes the policy, the binding and what a trial has left, and then the condition
// Rendered of each PlacementPolicy. It is for a program that places pods by a webhook
// now, and does nothing where there is nothing.
//
// A policy of that name without our label managed-by is somebody else's and stays. Where
// the API server has no such kind, or does not let us look, there is nothing of ours:
// that is no error.
func (k *Keeper) Withdraw(ctx context.Context) error {
	for _, name := range []string{k.options.Name, k.options.Name + trialSuffix} {
		if err := k.withdraw(ctx, name); err != nil {
			return fmt.Errorf("withdrawing admission policy %q: %w", name, err)
		}
	}
	policies, err := k.listPolicies(ctx)
	if err != nil {
		if nothingThere(err) {
			return nil
		}
		return err
	}
	var problems []error
	for i := range policies {
		if meta.FindStatusCondition(policies[i].Status.Conditions, v1alpha1.ConditionRendered) == nil {
			continue
		}
		if err := k.say(ctx, policies[i].Name, nil); err != nil && !nothingThere(err) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (k *Keeper) withdraw(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	binding, err := k.bindings().Get(ctx, name, metav1.GetOptions{})
	if err == nil && binding.Labels[managedByLabel] == managedBy {
		err = k.bindings().Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &binding.UID}})
	}
	if err != nil && !nothingThere(err) {
		return err
	}
	policy, err := k.policies().Get(ctx, name, metav1.GetOptions{})
	if err == nil && policy.Labels[managedByLabel] == managedBy {
		err = k.policies().Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &policy.UID}})
	}
	if err != nil && !nothingThere(err) {
		return err
	}
	return nil
}

// nothingThere says of an error that what was asked for cannot be there, or not by us.
func nothingThere(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsForbidden(err) }
