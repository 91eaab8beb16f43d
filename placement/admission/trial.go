package admission

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/ebbtide/ebbtide/placement"
)

const (
	// trialWithin bounds a trial, with sampleWithin more for each policy. An API server acts
	// on a new policy within two seconds, and two dry runs take some ten milliseconds; the
	// rest is for one that is busy.
	trialWithin  = time.Minute
	sampleWithin = 500 * time.Millisecond
	// askAgain is the time between two creations of the same sample pod.
	askAgain = 250 * time.Millisecond
	// badAnswers are how many wrong answers to one sample pod fail a trial. A single one
	// may be of a quota that was used up, or a webhook that was changed, in between.
	badAnswers = 3
)

// wrongError is an answer by which a trial fails: the policy does not do what it should.
type wrongError struct{ error }

func (e wrongError) Unwrap() error { return e.error }

// refusedError is the API server's refusal of a pod that no policy of ours acts on.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// try holds a trial of what is wanted, and removes it again. It returns what came of it,
// InForce when it was passed, and the same for the metric.
func (t *term) try(ctx context.Context, wanted wish) (found verdict, outcome string) {
	ctx, cancel := context.WithTimeout(ctx, trialWithin+time.Duration(wanted.rendering.InForce.Len())*sampleWithin)
	defer cancel()
	began := time.Now()
	err := t.hold(ctx, wanted)
	if errors.As(err, &wrongError{}) {
		return verdict{TrialFailed, err.Error()}, trialFailed
	} else if err != nil {
		return verdict{TrialInconclusive, err.Error()}, trialInconclusive
	}
	t.options.Log.DebugContext(ctx, "Passed a trial of the admission policy", "took", time.Since(began))
	return verdict{reason: InForce}, trialPassed
}

func (t *term) hold(ctx context.Context, wanted wish) error {
	if err := t.validate(ctx, wanted.rendering); err != nil {
		return err
	}
	own, err := t.client.CoreV1().Namespaces().Get(ctx, t.options.Namespace, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading namespace %q: %w", t.options.Namespace, err)
	}
	token := rand.Text()
	if err := t.raise(ctx, t.trialOf(wanted, token)); err != nil {
		return err
	}
	defer t.lower(ctx)
	namespace := placement.Namespace{Name: own.Name, Labels: own.Labels, Annotations: own.Annotations}
	ask := asking{pods: t.client.CoreV1().Pods(own.Name), namespace: namespace, wanted: wanted, token: token}
	var refused error
	taken := 0
	for _, sample := range t.samples(wanted, namespace) {
		err := ask.about(ctx, sample.pod)
		if errors.As(err, &refusedError{}) {
			// Of a priority class that does not exist, for example: no pod can be as this one.
			refused = err
			continue
		}
		if err != nil {
			return fmt.Errorf("creating a pod %s, as a dry run: %w", sample.what, err)
		}
		taken++
	}
	if taken == 0 {
		return fmt.Errorf("creating sample pods, as dry runs: none is taken: %w", refused)
	}
	return nil
}

// validate has the API server read what would be put in force.
func (t *term) validate(ctx context.Context, rendering placement.Rendering) error {
	_, err := apply(ctx, t.policies(), rendering.Policy, true)
	if err == nil {
		_, err = apply(ctx, t.bindings(), rendering.Binding, true)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("applying admission policy %q as a dry run: %w", t.options.Name, err)
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return wrongError{err}
	}
	return err
}

// trialOf is what is wanted, rendered for sample pods with the token only. It differs
// from what would be put in force in two things: an error is shown instead of ignored,
// and each pod that it was evaluated for is marked, whether it was placed or not. So an
// answer without the mark is one of an API server that does not act on the trial yet.
func (t *term) trialOf(wanted wish, token string) placement.Rendering {
	only := &metav1.LabelSelector{MatchLabels: map[string]string{TrialLabel: token}}
	trial := t.render(wanted.policies, wanted.rules, placement.RenderOptions{
		Name: t.options.Name + trialSuffix, Pods: only,
		Labels: map[string]string{managedByLabel: managedBy, TrialLabel: token},
	})
	here := &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: t.options.Namespace}}
	spec := &trial.Policy.Spec
	spec.MatchConstraints.NamespaceSelector = here
	spec.FailurePolicy = new(admissionv1.Fail)
	spec.Mutations = append(spec.Mutations, admissionv1.Mutation{
		PatchType: admissionv1.PatchTypeJSONPatch,
		JSONPatch: &admissionv1.JSONPatch{Expression: `[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("` + triedLabel + `"), value: "` + token + `"}]`},
	})
	// The policy is narrowed already. The binding is too, so that not one of them has to
	// be right for a user's pod to be left alone.
	trial.Binding.Spec.MatchResources = &admissionv1.MatchResources{NamespaceSelector: here, ObjectSelector: only}
	return trial
}

// raise binds the trial.
func (t *term) raise(ctx context.Context, trial placement.Rendering) error {
	if err := t.removeTrial(ctx); err != nil {
		return err
	}
	if _, err := t.policies().Create(ctx, trial.Policy, metav1.CreateOptions{FieldManager: FieldManager}); err != nil {
		return fmt.Errorf("creating admission policy %q: %w", trial.Policy.Name, err)
	}
	if _, err := t.bindings().Create(ctx, trial.Binding, metav1.CreateOptions{FieldManager: FieldManager}); err != nil {
		t.lower(ctx)
		return fmt.Errorf("creating the binding of admission policy %q: %w", trial.Policy.Name, err)
	}
	return nil
}

// lower removes the trial, even when the term is over. What it cannot remove is removed
// before the next look, or by the next leader.
func (t *term) lower(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callWithin)
	defer cancel()
	if err := t.removeTrial(ctx); err != nil {
		t.swept = false
		t.options.Log.WarnContext(ctx, "Left a trial behind for now", "err", err)
	}
}

// asking creates sample pods as dry runs.
type asking struct {
	pods      coreclient.PodInterface
	namespace placement.Namespace
	wanted    wish
	token     string
}

// about creates a sample pod twice, until it is answered for: once beside the trial and
// once on trial. The first says what others make of the pod, for Decide to begin with;
// when it is refused for good, a refusedError is returned. The second has to come to what
// Decide says; when it does not, a wrongError is. Any other error means that ctx has ended.
func (a asking) about(ctx context.Context, pod *corev1.Pod) error {
	var last error
	for bad := 0; bad < badAnswers; {
		counts, answer := a.once(ctx, pod)
		if answer == nil || errors.As(answer, &refusedError{}) {
			return answer
		}
		if last == nil || ctx.Err() == nil { // an answer that the end cut short says nothing
			last = answer
		}
		if counts {
			bad++
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(askAgain):
		}
	}
	return wrongError{last}
}

var errNotActing = errors.New("the API server does not act on the trial")

// once returns nil when the answer is right, and otherwise what is wrong with it and
// whether that counts against the policy.
func (a asking) once(ctx context.Context, pod *corev1.Pod) (counts bool, answer error) {
	bare, err := a.create(ctx, pod, outside)
	switch {
	case refusal(err):
		return false, refusedError{err}
	case err != nil:
		return false, err
	}
	got, err := a.create(ctx, pod, a.token)
	switch {
	case err != nil:
		// Also one that says nothing, such as a lost connection: that is what a panic of
		// the API server looks like, and the pod beside the trial has just been taken.
		return !busy(err), err
	case got.Labels[triedLabel] != a.token:
		return false, errNotActing
	}
	want := placement.Decide(bare, a.namespace, a.wanted.rendering.InForce, a.wanted.rules, nil).Apply(bare)
	return true, difference(want, got)
}

func (a asking) create(ctx context.Context, pod *corev1.Pod, label string) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	pod = pod.DeepCopy()
	metav1.SetMetaDataLabel(&pod.ObjectMeta, TrialLabel, label)
	return a.pods.Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// refusal says of an error of a creation that the pod is refused, and will be again.
func refusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsNotFound(err)
}

// busy says of an error of a creation that the API server had no time for the pod.
func busy(err error) bool {
	return apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) ||
		apierrors.IsServerTimeout(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// difference returns nil when the pods are placed alike, and otherwise the first thing
// that differs. The decision comes first: it tells most in the fewest words. What a policy
// of ours never writes is not compared: another webhook may write it anew for each pod.
func difference(want, got *corev1.Pod) error {
	if want, got := want.Annotations[placement.DecisionAnnotation], got.Annotations[placement.DecisionAnnotation]; want != got {
		return fmt.Errorf("its decision came to %q, and should have to %q", got, want)
	}
	if want, got := tolerations(want), tolerations(got); !equality.Semantic.DeepEqual(want, got) {
		return fmt.Errorf("its tolerations came to %s, and should have to %s", short(got), short(want))
	}
	if want, got := want.Spec.Affinity, got.Spec.Affinity; !equality.Semantic.DeepEqual(want, got) {
		return fmt.Errorf("its affinity came to %s, and should have to %s", short(got), short(want))
	}
	return nil
}

// tolerations are the pod's in an order of our own: others add some too, before us or after.
func tolerations(pod *corev1.Pod) []corev1.Toleration {
	return slices.SortedStableFunc(slices.Values(pod.Spec.Tolerations), func(a, b corev1.Toleration) int {
		return strings.Compare(a.String(), b.String())
	})
}

// short is a value as JSON, of which the beginning tells enough.
func short(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%.2000s", encoded)
}
