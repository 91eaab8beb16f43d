package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"

	"github.com/ebbtide/ebbtide/placement"
)

const (
	// lookAgain is the time between two looks when nobody rings: for what no watch tells,
	// such as a condition that somebody took away.
	lookAgain = 30 * time.Second
	// serveAgain is the time between two looks whether the API server serves what is
	// needed. It begins to when it is upgraded, and not all by itself.
	serveAgain = 3 * time.Minute
	// callWithin bounds one request.
	callWithin = 10 * time.Second
)

// newPace is how long to wait after a write, or after one that failed. It grows while
// that goes on, as it does when somebody else takes back what was written.
func newPace() wait.Backoff {
	return wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.1, Steps: 20, Cap: time.Minute}
}

// newTrialPause is how long a rendering that was not found good waits for its next trial.
// The first ones come soon, for a cause that passes; Ebbtide itself will not change.
func newTrialPause() wait.Backoff {
	return wait.Backoff{Duration: 15 * time.Second, Factor: 2, Jitter: 0.1, Steps: 20, Cap: 10 * time.Minute}
}

// term is the time for which a replica leads.
type term struct {
	*Keeper
	pace wait.Backoff
	// served is true once the API server was seen to serve admission policies; swept, once
	// what an earlier trial has left is removed.
	served, swept bool
	// watched is true once the watches are begun.
	watched bool
	watches sync.WaitGroup
	// proven was found good by a trial, or in force; nil at first.
	proven *admissionv1.MutatingAdmissionPolicySpec
	// failing was not; nil when there is none.
	failing *failing
}

// failing is a rendering that was not found good.
type failing struct {
	spec    *admissionv1.MutatingAdmissionPolicySpec
	verdict verdict
	pause   wait.Backoff
	again   time.Time // when it is tried again
}

// wish is what is to be in force.
type wish struct {
	policies  placement.Policies
	rules     placement.Rules
	rendering placement.Rendering
}

// wish returns what is wanted now, and false while nobody has told.
func (k *Keeper) wish() (wish, bool) {
	k.mu.Lock()
	wanted := k.wanted
	k.mu.Unlock()
	if wanted == nil {
		return wish{}, false
	}
	rules := k.options.Rules()
	return wish{*wanted, rules, k.render(*wanted, rules, k.inForceOptions())}, true
}

// look compares what there is with what is wanted, and mends it. It returns how long to
// wait for the next look, and whether not to listen to the bell meanwhile.
func (t *term) look(ctx context.Context) (pause time.Duration, deaf bool) {
	wanted, known := t.wish()
	if !known {
		return lookAgain, false
	}
	found, wrote := t.settle(ctx, wanted)
	if ctx.Err() != nil {
		return 0, true
	}
	if before := t.conclude(found.problem()); found.reason != InForce && (before == nil || before.Error() != found.problem().Error()) {
		t.options.Log.WarnContext(ctx, "Left the admission policy as it was", "reason", found.reason, "err", found.message)
	}
	told := t.tell(ctx, wanted, found)
	if told != nil && ctx.Err() == nil {
		t.options.Log.WarnContext(ctx, "Left the status of policies as it was", "err", told)
	}
	switch {
	case wrote || told != nil || found.reason == NotWritten:
		return t.pace.Step(), true
	case found.reason == NotServed:
		return serveAgain, false
	case found.reason == InForce:
		t.pace = newPace()
		return lookAgain, false
	}
	return min(lookAgain, time.Until(t.failing.again)), false
}

// settle puts what is wanted in force unless it is. It says what became of it, and
// whether anything was written.
func (t *term) settle(ctx context.Context, wanted wish) (found verdict, wrote bool) {
	is, err := t.live(ctx)
	switch {
	case errors.Is(err, errNotServed):
		t.served = false
		return verdict{NotServed, err.Error()}, false
	case err != nil:
		return verdict{NotWritten, err.Error()}, false
	}
	t.watch(ctx)
	if is.same(wanted.rendering) {
		t.proven, t.failing = &wanted.rendering.Policy.Spec, nil
		return verdict{reason: InForce}, false
	}
	if found := t.prove(ctx, wanted); found.reason != InForce {
		return found, false
	}
	if err := t.write(ctx, wanted.rendering); err != nil {
		t.metrics.writes[writeFailed].Inc()
		return verdict{NotWritten, err.Error()}, false
	}
	t.metrics.writes[writeApplied].Inc()
	t.options.Log.InfoContext(ctx, "Put the admission policy in force", "policies", wanted.rendering.InForce.Len(), "refused", len(wanted.rendering.Refused))
	return verdict{reason: InForce}, true
}

// prove holds a trial of what is wanted, unless it was found good before, or was not and
// it is too early to try again.
func (t *term) prove(ctx context.Context, wanted wish) verdict {
	spec := &wanted.rendering.Policy.Spec
	if t.proven != nil && equality.Semantic.DeepEqual(t.proven, spec) {
		return verdict{reason: InForce}
	}
	same := t.failing != nil && equality.Semantic.DeepEqual(t.failing.spec, spec)
	if same && time.Now().Before(t.failing.again) {
		return t.failing.verdict
	}
	found, outcome := t.try(ctx, wanted)
	if ctx.Err() != nil {
		return found // the term is over: that says nothing of the rendering
	}
	t.metrics.trials[outcome].Inc()
	if found.reason == InForce {
		t.proven, t.failing = spec, nil
		return found
	}
	if !same {
		t.failing = &failing{spec: spec, pause: newTrialPause()}
		t.tellTrial(wanted.rendering, found)
	}
	t.failing.verdict, t.failing.again = found, time.Now().Add(t.failing.pause.Step())
	return found
}

// tellTrial writes an Event about a rendering that was not found good.
func (t *term) tellTrial(rendering placement.Rendering, found verdict) {
	if t.options.Events != nil {
		t.options.Events.Eventf(rendering.Policy, nil, corev1.EventTypeWarning, string(found.reason), "Trial", "%.900s", found.message)
	}
}

// live is what there is.
type live struct {
	policy  *admissionv1.MutatingAdmissionPolicy        // nil when there is none
	binding *admissionv1.MutatingAdmissionPolicyBinding // nil when there is none
}

// same says whether it is what was rendered. A label more does no harm.
func (l live) same(rendering placement.Rendering) bool {
	return l.policy != nil && l.binding != nil && samePolicy(l.policy, rendering.Policy) && sameBinding(l.binding, rendering.Binding)
}

var errNotServed = errors.New("the API server serves no MutatingAdmissionPolicy in " + admissionv1.SchemeGroupVersion.String() +
	", as Kubernetes does from 1.36 on; until then, pods can be placed by a webhook")

// live reads what there is. It returns errNotServed where there can be nothing.
func (t *term) live(ctx context.Context) (live, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if !t.served {
		if err := t.discover(ctx); err != nil {
			return live{}, err
		}
		t.served = true
	}
	if !t.swept {
		if err := t.removeTrial(ctx); err != nil {
			return live{}, err
		}
		t.swept = true
	}
	policy, err := t.policies().Get(ctx, t.options.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		// The answer is the same where the kind is not served any more.
		return live{}, t.discover(ctx)
	case err != nil:
		return live{}, fmt.Errorf("reading admission policy %q: %w", t.options.Name, err)
	}
	binding, err := t.bindings().Get(ctx, t.options.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return live{policy: policy}, nil
	case err != nil:
		return live{}, fmt.Errorf("reading the binding of admission policy %q: %w", t.options.Name, err)
	}
	return live{policy, binding}, nil
}

// discover returns errNotServed unless the API server serves admission policies.
func (t *term) discover(ctx context.Context) error {
	served, err := discovery.ToDiscoveryInterfaceWithContext(t.client.Discovery()).
		ServerResourcesForGroupVersionWithContext(ctx, admissionv1.SchemeGroupVersion.String())
	switch {
	case apierrors.IsNotFound(err):
		return errNotServed
	case err != nil:
		return fmt.Errorf("asking whether admission policies are served: %w", err)
	}
	if !slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Name == policyResource }) {
		return errNotServed
	}
	return nil
}

const (
	policyResource  = "mutatingadmissionpolicies"
	bindingResource = "mutatingadmissionpolicybindings"
)

// watch rings whenever somebody writes the policy or the binding, until ctx ends.
func (t *term) watch(ctx context.Context) {
	if t.watched {
		return
	}
	t.watched = true
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, t.options.Name)
	rings := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { t.ring() }, UpdateFunc: func(any, any) { t.ring() }, DeleteFunc: func(any) { t.ring() },
	}
	for resource, kind := range map[string]runtime.Object{
		policyResource: &admissionv1.MutatingAdmissionPolicy{}, bindingResource: &admissionv1.MutatingAdmissionPolicyBinding{},
	} {
		lists := cache.NewListWatchFromClient(t.client.AdmissionregistrationV1().RESTClient(), resource, metav1.NamespaceAll, only)
		_, informer := cache.NewInformerWithOptions(cache.InformerOptions{ListerWatcher: lists, ObjectType: kind, Handler: rings})
		t.watches.Go(func() { informer.RunWithContext(ctx) })
	}
}
