package admission

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// led is a scene with a leader, on the shared lab, or nil where the API server has no
// admission policies.
func led(t *testing.T, name string) (*scene, *Keeper) {
	t.Helper()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return nil, nil
	}
	s := newScene(t, l, name)
	k := s.keeper(t)
	k.metrics = newMetrics(s.registry)
	s.run(t, k)
	return s, k
}

func TestPoliciesAreInForceAndFollowedWhenTheyChange(t *testing.T) {
	t.Parallel()
	s, k := led(t, "followed")
	if s == nil {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	s.policy(t, k, "dns", requires)
	s.ready(t, k)
	s.says(t, "dns", metav1.ConditionTrue, "InForce")
	s.placed(t, "app: dns", placement.PolicyRequires)

	before := s.says(t, "dns", metav1.ConditionTrue, "InForce")
	s.policy(t, k, "dns", prefers)
	s.placed(t, "app: dns", placement.PolicyPrefers)
	after := s.says(t, "dns", metav1.ConditionTrue, "InForce")
	if !after.LastTransitionTime.Equal(&before.LastTransitionTime) {
		t.Errorf("the condition is said to have turned at %v and at %v", before.LastTransitionTime, after.LastTransitionTime)
	}
	s.noTrial(t)
	for series, want := range map[[2]string]float64{
		{"trials_total", trialPassed}: 2, {"trials_total", trialFailed}: 0, {"trials_total", trialInconclusive}: 0,
		{"writes_total", writeApplied}: 2, {"writes_total", writeFailed}: 0,
	} {
		if got := count(t, s.registry, series[0], series[1]); got != want {
			t.Errorf("%s of %s is %.0f, want %.0f", series[0], series[1], got, want)
		}
	}
	if got := placementtest.Metric(t, s.registry, "ebbtide_placement_admission_policy_in_force"); got != 1 {
		t.Errorf("in_force is %.0f", got)
	}
}

func TestARefusedPolicySaysWhyAndTheOthersAreInForce(t *testing.T) {
	t.Parallel()
	s, k := led(t, "refused")
	if s == nil {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	s.policy(t, k, "dns", requires)
	s.policy(t, k, "other", automatic)
	s.says(t, "dns", metav1.ConditionTrue, "InForce")
	if said := s.says(t, "other", metav1.ConditionFalse, string(placement.NeedsClusterState)); !strings.Contains(said.Message, "Autoscaled") {
		t.Errorf("it says %q, and not what to do", said.Message)
	}
	s.ready(t, k)
	s.placed(t, "app: dns", placement.PolicyRequires)
	s.placed(t, "app: other", "")
}

func TestWhatACrashLeavesIsRemovedByTheNextLeader(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	for name, crash := range map[string]func(*testing.T, *scene, *Keeper){
		"in the middle of a trial": func(t *testing.T, s *scene, k *Keeper) {
			t.Helper()
			s.raise(t, k)
		},
		"between the policy of a trial and its binding": func(t *testing.T, s *scene, k *Keeper) {
			t.Helper()
			s.raise(t, k)
			if err := k.bindings().Delete(t.Context(), s.name+trialSuffix, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"between the policy and its binding": func(t *testing.T, _ *scene, k *Keeper) {
			t.Helper()
			wanted, _ := k.wish()
			if _, err := apply(t.Context(), k.policies(), wanted.rendering.Policy, false); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, l, "crash-"+strings.ReplaceAll(name, " ", "-"))
			dead := s.keeper(t)
			s.policy(t, dead, "dns", requires)
			crash(t, s, dead)

			next := s.keeper(t)
			s.run(t, next)
			next.Want(s.wanted(t))
			s.ready(t, next)
			s.noTrial(t)
			s.placed(t, "app: dns", placement.PolicyRequires)
		})
	}
}

func TestWhatSomebodyChangesIsPutBack(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	admission := l.Client().AdmissionregistrationV1()
	patchPolicy := func(patch string) func(context.Context, string) error {
		return func(ctx context.Context, name string) error {
			_, err := admission.MutatingAdmissionPolicies().Patch(ctx, name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "somebody"})
			return err
		}
	}
	for name, change := range map[string]func(context.Context, string) error{
		"the policy is deleted": func(ctx context.Context, name string) error {
			return admission.MutatingAdmissionPolicies().Delete(ctx, name, metav1.DeleteOptions{})
		},
		"the binding is deleted": func(ctx context.Context, name string) error {
			return admission.MutatingAdmissionPolicyBindings().Delete(ctx, name, metav1.DeleteOptions{})
		},
		"it places nothing any more": patchPolicy(`[{"op": "replace", "path": "/spec/mutations/0/jsonPatch/expression", "value": "variables.governing < 0 ? [] : [JSONPatch{op: 'test', path: '/kind', value: 'Pod'}]"}]`),
		"it stands in the way":       patchPolicy(`[{"op": "replace", "path": "/spec/failurePolicy", "value": "Fail"}]`),
		"a condition is added":       patchPolicy(`[{"op": "add", "path": "/spec/matchConditions/-", "value": {"name": "never", "expression": "false"}}]`),
		"the binding is narrowed": func(ctx context.Context, name string) error {
			patch := []byte(`{"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"never": "so"}}}}}`)
			_, err := admission.MutatingAdmissionPolicyBindings().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "somebody"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, l, strings.ReplaceAll(name, " ", "-"))
			k := s.keeper(t)
			k.metrics = newMetrics(s.registry)
			s.policy(t, k, "dns", requires)
			s.run(t, k)
			s.placed(t, "app: dns", placement.PolicyRequires)
			before, changed := s.live(t), time.Now()
			if err := change(t.Context(), s.name); err != nil {
				t.Fatal(err)
			}
			placementtest.Await(t, "what was changed to be put back", func(ctx context.Context) error {
				is, err := (&term{Keeper: k, served: true, swept: true}).live(ctx)
				if err != nil {
					return err
				}
				if is.policy == nil || is.binding == nil || !equality.Semantic.DeepEqual(is.policy.Spec, before.policy.Spec) || !sameBinding(is.binding, before.binding) {
					return errors.New("it is not")
				}
				return nil
			})
			s.placed(t, "app: dns", placement.PolicyRequires)
			if took := time.Since(changed); took > lookAgain/2 {
				t.Errorf("it was put back after %v, and so by no watch", took)
			}
			// What was tried once needs no other trial: it is put back at once.
			if got := count(t, s.registry, "trials_total", trialPassed); got != 1 {
				t.Errorf("there were %.0f trials, want 1", got)
			}
		})
	}
}

func TestWhatItMayNotDoIsSaid(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	if !servesAdmissionPolicies(t, l) {
		return // see TestWhereNoAdmissionPolicyIsServedItIsSaid
	}
	for name, c := range map[string]struct {
		lacks  string
		reason Reason
	}{
		"the policy may not be read":  {"get", NotWritten},
		"no trial may be created":     {"create", TrialInconclusive},
		"the policy may not be tried": {"patch", TrialInconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, l, "lacks-"+c.lacks)
			rules := permissions(s.name)
			for i := range rules {
				if rules[i].APIGroups[0] == admissionv1.GroupName {
					rules[i].Verbs = slices.DeleteFunc(rules[i].Verbs, func(verb string) bool { return verb == c.lacks })
				}
			}
			rules = slices.DeleteFunc(rules, func(rule rbacv1.PolicyRule) bool { return len(rule.Verbs) == 0 })
			s.config = s.account(t, "lacking", rules)
			k := s.keeper(t)
			s.run(t, k)
			s.policy(t, k, "dns", requires)
			if said := s.says(t, "dns", metav1.ConditionFalse, string(c.reason)); !strings.Contains(said.Message, "cannot "+c.lacks) {
				t.Errorf("it says %q, and not what it may not", said.Message)
			}
			if k.Ready() == nil {
				t.Error("the keeper is ready")
			}
		})
	}
}

// hiding is an API server before 1.36: it has no such kinds, and does not list them.
type hiding struct{ server http.RoundTripper }

func (h hiding) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Path == "/apis/"+admissionv1.SchemeGroupVersion.String() || strings.Contains(request.URL.Path, "mutatingadmissionpolic") {
		request = request.Clone(request.Context())
		request.URL.Path = "/apis/admissionregistration.k8s.io/v0/" // 404, from the API server itself
	}
	return h.server.RoundTrip(request)
}

func TestWhereNoAdmissionPolicyIsServedItIsSaid(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	s := newScene(t, l, "not-served")
	if servesAdmissionPolicies(t, l) {
		s.config.Wrap(func(server http.RoundTripper) http.RoundTripper { return hiding{server} })
	}
	k := s.keeper(t)
	k.metrics = newMetrics(s.registry)
	s.run(t, k)
	s.policy(t, k, "dns", requires)
	s.policy(t, k, "other", automatic)
	if said := s.says(t, "dns", metav1.ConditionFalse, string(NotServed)); !strings.Contains(said.Message, "1.36") {
		t.Errorf("it says %q, and not what is needed", said.Message)
	}
	s.says(t, "other", metav1.ConditionFalse, string(NotServed))
	if err := k.Ready(); err == nil || err.Error() != errNotServed.Error() {
		t.Errorf("what the keeper says of itself is %v", err)
	}
}

func TestANewKeeperRefusesNamesThatNothingCanHave(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]Options{
		"no name":                    {Namespace: "ebbtide"},
		"a name in capitals":         {Name: "Placement", Namespace: "ebbtide"},
		"a name with no trial's end": {Name: strings.Repeat("a", 250), Namespace: "ebbtide"},
		"no namespace":               {Name: "placement"},
	} {
		if _, err := New(lab.Shared(t).Config(), options); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestEverySeriesIsBornAtZero(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	if _, err := New(lab.Shared(t).Config(), Options{Name: "placement", Namespace: "ebbtide", Registry: registry}); err != nil {
		t.Fatal(err)
	}
	for _, outcome := range []string{trialPassed, trialFailed, trialInconclusive} {
		if got := count(t, registry, "trials_total", outcome); got != 0 {
			t.Errorf("%.0f trials have %s", got, outcome)
		}
	}
	for _, outcome := range []string{writeApplied, writeFailed} {
		if got := count(t, registry, "writes_total", outcome); got != 0 {
			t.Errorf("%.0f writes have %s", got, outcome)
		}
	}
	if got := placementtest.Metric(t, registry, "ebbtide_placement_admission_policy_in_force"); got != 0 {
		t.Errorf("in_force is %.0f", got)
	}
}
