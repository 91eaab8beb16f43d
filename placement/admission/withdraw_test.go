package admission

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// conditions are the types of the conditions of all policies.
func (s *scene) conditions(t *testing.T) []string {
	t.Helper()
	var types []string
	for _, policy := range s.stored(t.Context(), t) {
		for _, condition := range policy.Status.Conditions {
			types = append(types, policy.Name+" "+condition.Type)
		}
	}
	return types
}

// accept has a policy say that it is accepted, as the auditor does.
func (s *scene) accept(t *testing.T, name string) {
	t.Helper()
	status := map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "PlacementPolicy", "metadata": map[string]any{"name": s.name + "-" + name},
		"status": v1alpha1.PlacementPolicyStatus{Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "InForce", LastTransitionTime: metav1.Now()},
		}},
	}
	path := "/apis/" + v1alpha1.GroupVersion.String() + "/placementpolicies/" + s.name + "-" + name + "/status"
	err := s.Client().Discovery().RESTClient().Patch(types.ApplyPatchType).AbsPath(path).Param("fieldManager", "auditor").
		Body(placementtest.JSON(t, status)).Do(t.Context()).Error()
	if err != nil {
		t.Fatal(err)
	}
}

// A lab of its own: what is withdrawn is withdrawn from every policy of the cluster.
func TestWithdrawnIsAllThatWasDoneAndNothingElse(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	s := newScene(t, l, "withdrawn")
	k := s.keeper(t)
	s.policy(t, k, "dns", requires)
	s.policy(t, k, "other", automatic)
	s.accept(t, "other")
	served := servesAdmissionPolicies(t, l)
	stop := s.run(t, k)
	if served {
		s.says(t, "dns", metav1.ConditionTrue, "InForce")
		s.says(t, "other", metav1.ConditionFalse, string(placement.NeedsClusterState))
	} else {
		s.says(t, "dns", metav1.ConditionFalse, string(NotServed))
		s.says(t, "other", metav1.ConditionFalse, string(NotServed))
	}
	stop()
	if served { // a crash has left a trial, too
		s.raise(t, k)
	}

	// The next program places pods by a webhook. For the second time there is nothing to do.
	for range 2 {
		if err := s.keeper(t).Withdraw(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{s.name + "-other Accepted"}, s.conditions(t)); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
		if !served {
			continue
		}
		s.noTrial(t)
		_, policy := l.Client().AdmissionregistrationV1().MutatingAdmissionPolicies().Get(t.Context(), s.name, metav1.GetOptions{})
		_, binding := l.Client().AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Get(t.Context(), s.name, metav1.GetOptions{})
		if !apierrors.IsNotFound(policy) || !apierrors.IsNotFound(binding) {
			t.Errorf("policy: %v, binding: %v", policy, binding)
		}
	}
}

func TestWithoutRightsThereIsNothingToWithdraw(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	s := newScene(t, l, "no-rights")
	s.config = s.account(t, "nobody", nil)
	if err := s.keeper(t).Withdraw(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAPolicyOfSomebodyElsesIsNotWithdrawn(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return // there can be no such policy
	}
	s := newScene(t, l, "foreign")
	rendering := placement.Render(placement.Policies{}, placement.Rules{}, placement.RenderOptions{
		Name: s.name, Pods: &metav1.LabelSelector{MatchLabels: map[string]string{"never": "so"}},
	})
	foreign := s.admin(t)
	for _, create := range []func() error{
		func() error {
			_, err := foreign.policies().Create(t.Context(), rendering.Policy, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := foreign.bindings().Create(t.Context(), rendering.Binding, metav1.CreateOptions{})
			return err
		},
	} {
		if err := create(); err != nil {
			t.Fatal(err)
		}
	}
	k, err := New(s.config, Options{Name: s.name, Namespace: s.own, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.withdraw(t.Context(), s.name); err != nil {
		t.Fatal(err)
	}
	if is := s.live(t); !is.same(rendering) {
		t.Errorf("it is %+v now", is)
	}
}
