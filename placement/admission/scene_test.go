package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// permissions are those that Options names, for a policy of that name.
func permissions(name string) []rbacv1.PolicyRule {
	resources := []string{policyResource, bindingResource}
	return []rbacv1.PolicyRule{
		{
			APIGroups: []string{admissionv1.GroupName}, Resources: resources, ResourceNames: []string{name, name + trialSuffix},
			Verbs: []string{"get", "list", "watch", "patch", "update", "delete"},
		},
		{APIGroups: []string{admissionv1.GroupName}, Resources: resources, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}},
		{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"placementpolicies"}, Verbs: []string{"list"}},
		{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"placementpolicies/status"}, Verbs: []string{"patch"}},
	}
}

// scene is a part of the shared lab. Its policies match pods with its label only, so
// that what one test puts in force is nothing to another.
type scene struct {
	*lab.Lab
	name      string // of the admission policy, and the value of the pods' label "scene"
	own       string // the program's namespace, with the Pod Security Standard "restricted"
	elsewhere string
	config    *rest.Config // of a service account with the permissions
	registry  *prometheus.Registry
}

// servesAdmissionPolicies says whether the lab's Kubernetes has what is tested here, and
// fails the test when one that should has not.
func servesAdmissionPolicies(t *testing.T, l *lab.Lab) bool {
	t.Helper()
	_, err := l.Client().AdmissionregistrationV1().MutatingAdmissionPolicies().List(t.Context(), metav1.ListOptions{})
	if err == nil {
		return true
	}
	if !apierrors.IsNotFound(err) || version.MustParseGeneric(l.Version()).AtLeast(version.MustParseGeneric("1.36.0")) {
		t.Fatalf("Kubernetes %s lists MutatingAdmissionPolicies: %v", l.Version(), err)
	}
	return false
}

func newScene(t *testing.T, l *lab.Lab, name string) *scene {
	t.Helper()
	placementtest.InstallCRD(t, l)
	s := &scene{Lab: l, name: "scene-" + name, own: l.Namespace(t), elsewhere: l.Namespace(t), registry: prometheus.NewRegistry()}
	restrict := []byte(`{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}`)
	if _, err := l.Client().CoreV1().Namespaces().Patch(t.Context(), s.own, types.MergePatchType, restrict, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	s.config = s.account(t, "placement", permissions(s.name))
	t.Cleanup(func() {
		ctx, admin := context.WithoutCancel(t.Context()), s.admin(t)
		if err := errors.Join(admin.remove(ctx, s.name), admin.remove(ctx, s.name+trialSuffix)); err != nil {
			t.Errorf("removing what is in force: %v", err)
		}
	})
	return s
}

// account is the configuration of a service account with these rights.
func (s *scene) account(t *testing.T, name string, rules []rbacv1.PolicyRule) *rest.Config {
	t.Helper()
	kubeconfig, err := s.ServiceAccount(t.Context(), s.own, name, rules)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// keeper makes a keeper whose metrics nobody reads; see run.
func (s *scene) keeper(t *testing.T) *Keeper {
	t.Helper()
	k, err := New(s.config, Options{Name: s.name, Namespace: s.own, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// admin is a keeper that may do anything, to look and to tidy up with.
func (s *scene) admin(t *testing.T) *Keeper {
	t.Helper()
	k, err := New(s.Config(), Options{Name: s.name, Namespace: s.own})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// run leads with a keeper until stop is called, or the test ends.
func (s *scene) run(t *testing.T, k *Keeper) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("keeping the admission policy: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// raise binds a trial of what the keeper wants, for pods with the token "token".
func (s *scene) raise(t *testing.T, k *Keeper) {
	t.Helper()
	wanted, _ := k.wish()
	dead := &term{Keeper: k, pace: newPace()}
	if err := dead.raise(t.Context(), dead.trialOf(wanted, "token")); err != nil {
		t.Fatal(err)
	}
}

// policy makes or changes a policy of the scene, and tells the keeper.
func (s *scene) policy(t *testing.T, k *Keeper, name, spec string) {
	t.Helper()
	name = s.name + "-" + name
	wanted := placementtest.Policy(t, name, spec)
	wanted.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PlacementPolicy"}
	if wanted.Spec.Match.PodSelector == nil {
		wanted.Spec.Match.PodSelector = &metav1.LabelSelector{}
	}
	metav1.AddLabelToSelector(wanted.Spec.Match.PodSelector, "scene", s.name)
	path := "/apis/" + v1alpha1.GroupVersion.String() + "/placementpolicies/" + name
	api := s.Client().Discovery().RESTClient()
	err := api.Patch(types.ApplyPatchType).AbsPath(path).Param("fieldManager", "test").Body(placementtest.JSON(t, wanted)).Do(t.Context()).Error()
	if err != nil {
		t.Fatal(err)
	}
	if generation, _ := s.wanted(t).Generation(name); generation == 1 {
		t.Cleanup(func() {
			if err := api.Delete().AbsPath(path).Do(context.WithoutCancel(t.Context())).Error(); err != nil {
				t.Error(err)
			}
		})
	}
	k.Want(s.wanted(t))
}

// wanted are the scene's policies.
func (s *scene) wanted(t *testing.T) placement.Policies {
	t.Helper()
	var own []v1alpha1.PlacementPolicy
	for _, item := range s.stored(t.Context(), t) {
		if item.Spec.Match.PodSelector.MatchLabels["scene"] == s.name {
			own = append(own, item)
		}
	}
	policies, rejections := placement.Compile(own)
	if len(rejections) > 0 {
		t.Fatal(rejections[0].Err)
	}
	return policies
}

// stored are all policies of the lab.
func (s *scene) stored(ctx context.Context, t *testing.T) []v1alpha1.PlacementPolicy {
	t.Helper()
	policies, err := s.admin(t).listPolicies(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return policies
}

// says waits until the policy's condition is as it should be, and returns it.
func (s *scene) says(t *testing.T, name string, status metav1.ConditionStatus, reason string) metav1.Condition {
	t.Helper()
	var found metav1.Condition
	placementtest.Await(t, fmt.Sprintf("policy %q to say %s", name, reason), func(ctx context.Context) error {
		for _, item := range s.stored(ctx, t) {
			if item.Name != s.name+"-"+name {
				continue
			}
			said := meta.FindStatusCondition(item.Status.Conditions, v1alpha1.ConditionRendered)
			if said == nil || said.Status != status || said.Reason != reason || said.ObservedGeneration != item.Generation {
				return fmt.Errorf("it says %+v, of generation %d", said, item.Generation)
			}
			found = *said
			return nil
		}
		return errors.New("there is no such policy")
	})
	return found
}

// pod is a pod with the scene's label and these others, in YAML.
func (s *scene) pod(t *testing.T, labels string) *corev1.Pod {
	t.Helper()
	return placementtest.Pod(t, fmt.Sprintf("metadata: {generateName: user-, labels: {scene: %s, %s}}", s.name, labels))
}

// dryRun asks the API server what it would store.
var dryRun = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}

// placed waits until pods with these labels come to that.
func (s *scene) placed(t *testing.T, labels string, reason placement.Reason) {
	t.Helper()
	placementtest.Await(t, fmt.Sprintf("a pod with %q to come to %s", labels, reason), func(ctx context.Context) error {
		pod, err := s.Client().CoreV1().Pods(s.elsewhere).Create(ctx, s.pod(t, labels), dryRun)
		if err != nil {
			return err
		}
		if record, _ := placement.ReadRecord(pod); record.Reason != reason {
			return fmt.Errorf("it came to %q", record.Reason)
		}
		return nil
	})
}

// ready waits until the keeper leads and what is wanted is in force.
func (s *scene) ready(t *testing.T, k *Keeper) {
	t.Helper()
	placementtest.Await(t, "the policies to be in force", func(context.Context) error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.leading {
			return errors.New("the keeper does not lead yet")
		}
		return k.problem
	})
}

// noTrial fails the test when a trial was left.
func (s *scene) noTrial(t *testing.T) {
	t.Helper()
	admission := s.Client().AdmissionregistrationV1()
	_, policy := admission.MutatingAdmissionPolicies().Get(t.Context(), s.name+trialSuffix, metav1.GetOptions{})
	_, binding := admission.MutatingAdmissionPolicyBindings().Get(t.Context(), s.name+trialSuffix, metav1.GetOptions{})
	if !apierrors.IsNotFound(policy) || !apierrors.IsNotFound(binding) {
		t.Errorf("a trial was left: policy %v, binding %v", policy, binding)
	}
}

// live is the admission policy and its binding as they are stored.
func (s *scene) live(t *testing.T) live {
	t.Helper()
	admission := s.Client().AdmissionregistrationV1()
	policy, err := admission.MutatingAdmissionPolicies().Get(t.Context(), s.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	binding, err := admission.MutatingAdmissionPolicyBindings().Get(t.Context(), s.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return live{policy, binding}
}

// count reads one of our counters.
func count(t *testing.T, registry *prometheus.Registry, name, outcome string) float64 {
	t.Helper()
	return placementtest.Metric(t, registry, "ebbtide_placement_admission_policy_"+name, outcome)
}

const (
	requires  = "{mode: Required, match: {podSelector: {matchLabels: {app: dns}}}}"
	prefers   = "{mode: Preferred, match: {podSelector: {matchLabels: {app: dns}}}}"
	automatic = "{mode: Auto, match: {podSelector: {matchLabels: {app: other}}}}"
)
