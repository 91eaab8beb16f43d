package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"

	"github.com/ebbtide/ebbtide/placement"
)

func (k *Keeper) policies() admissionclient.MutatingAdmissionPolicyInterface {
	return k.client.AdmissionregistrationV1().MutatingAdmissionPolicies()
}

func (k *Keeper) bindings() admissionclient.MutatingAdmissionPolicyBindingInterface {
	return k.client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
}

func samePolicy(a, b *admissionv1.MutatingAdmissionPolicy) bool {
	return equality.Semantic.DeepEqual(a.Spec, b.Spec)
}

func sameBinding(a, b *admissionv1.MutatingAdmissionPolicyBinding) bool {
	return equality.Semantic.DeepEqual(a.Spec, b.Spec)
}

// write puts a rendering in force. The policy comes first: without its binding it does
// nothing, and with an old one it is the new policy that is bound.
func (k *Keeper) write(ctx context.Context, rendering placement.Rendering) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if err := put(ctx, k.policies(), rendering.Policy, samePolicy, func(to, from *admissionv1.MutatingAdmissionPolicy) { to.Spec = from.Spec }); err != nil {
		return fmt.Errorf("writing admission policy %q: %w", k.options.Name, err)
	}
	if err := put(ctx, k.bindings(), rendering.Binding, sameBinding, func(to, from *admissionv1.MutatingAdmissionPolicyBinding) { to.Spec = from.Spec }); err != nil {
		return fmt.Errorf("writing the binding of admission policy %q: %w", k.options.Name, err)
	}
	return nil
}

// writer is what put takes of a client.
type writer[T metav1.Object] interface {
	patcher[T]
	Update(ctx context.Context, object T, options metav1.UpdateOptions) (T, error)
}

var errAltered = errors.New("the API server stores something else")

// put writes an object so that nothing of its spec is anybody else's. An apply leaves
// what somebody has added to a list, such as a matchCondition; that takes an update.
func put[T metav1.Object](ctx context.Context, client writer[T], wanted T, same func(a, b T) bool, replace func(to, from T)) error {
	stored, err := apply(ctx, client, wanted, false)
	if err == nil && !same(stored, wanted) {
		replace(stored, wanted)
		stored, err = client.Update(ctx, stored, metav1.UpdateOptions{FieldManager: FieldManager})
	}
	if err == nil && !same(stored, wanted) {
		return errAltered
	}
	return err
}

// patcher is what a server-side apply takes.
type patcher[T metav1.Object] interface {
	Patch(ctx context.Context, name string, kind types.PatchType, data []byte, options metav1.PatchOptions, subresources ...string) (T, error)
}

// apply writes an object by server-side apply, and returns it as it is stored. Forced: a
// field that somebody else set decides which pods are placed.
func apply[T metav1.Object](ctx context.Context, client patcher[T], object T, dryRun bool) (T, error) {
	var none T
	encoded, err := json.Marshal(object)
	if err != nil {
		return none, err
	}
	options := metav1.PatchOptions{FieldManager: FieldManager, Force: new(true), FieldValidation: metav1.FieldValidationStrict}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return client.Patch(ctx, object.GetName(), types.ApplyPatchType, encoded, options)
}

// removeTrial removes what a trial has left, if anything.
func (k *Keeper) removeTrial(ctx context.Context) error {
	if err := k.remove(ctx, k.options.Name+trialSuffix); err != nil {
		return fmt.Errorf("removing the trial of admission policy %q: %w", k.options.Name, err)
	}
	return nil
}

// remove deletes the binding and the policy of a name, in this order, so that it ends at
// once. That there is none is well.
func (k *Keeper) remove(ctx context.Context, name string) error {
	binding := k.bindings().Delete(ctx, name, metav1.DeleteOptions{})
	policy := k.policies().Delete(ctx, name, metav1.DeleteOptions{})
	for _, err := range []*error{&binding, &policy} {
		if apierrors.IsNotFound(*err) {
			*err = nil
		}
	}
	return errors.Join(binding, policy)
}
