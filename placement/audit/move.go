package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/placement"
)

// Moved says how a rescue has ended. The values are stable: they are metric labels.
type Moved string

// The ends of a rescue.
const (
	// HandedOver: its replacement was Ready on a long-lived node before it was evicted. Of
	// a hand-over that a leader before this one began, the node is not known.
	HandedOver Moved = "HandedOver"
	// Evicted: it was evicted, and its replacement was bound to a long-lived node.
	Evicted Moved = "Evicted"
	// AlreadyGone: it had gone by itself.
	AlreadyGone Moved = "AlreadyGone"
	// BudgetClosed: its disruption budget did not let it go.
	BudgetClosed Moved = "BudgetClosed"
	// Postponed: its Deployment rolls out, or has as many pods too many as it may.
	Postponed Moved = "Postponed"
	// NoReplacement: none was Ready, or bound, in time.
	NoReplacement Moved = "NoReplacement"
	// OnSpotAgain: its replacement came to a spot node, too. One that was handed over
	// was taken back.
	OnSpotAgain Moved = "OnSpotAgain"
	// Failed: the API server refused what was asked, or did not answer.
	Failed Moved = "Failed"
)

// moves are all of them, for the metric.
var moves = []Moved{HandedOver, Evicted, AlreadyGone, BudgetClosed, Postponed, NoReplacement, OnSpotAgain, Failed}

// OK says whether nothing went wrong, so that the next pod may be moved at once.
func (m Moved) OK() bool { return m == HandedOver || m == Evicted || m == AlreadyGone }

// disturbed says whether a pod was evicted, or another made beside it, for nothing.
func (m Moved) disturbed() bool { return m == NoReplacement || m == OnSpotAgain }

const (
	// moveTimeout is how long a replacement may take: an image is pulled, a volume
	// comes along.
	moveTimeout = 5 * time.Minute
	// takeBackTimeout bounds the undoing of a hand-over.
	takeBackTimeout = 10 * time.Second
	// evictFor is how long an eviction is asked for while the API server has no clear
	// answer; replacedFor is as much where a replacement is Ready, which the budget only
	// has to be told of.
	evictFor    = 10 * time.Second
	replacedFor = time.Minute
	// look is the pause between two looks into memory; each goes over every pod.
	look = time.Second
	// beginTries is how often a hand-over is tried against others who write the pod.
	beginTries = 5
)

// Mover moves pods off their nodes by the means of a drain: a hand-over where the
// workload allows it, and the eviction API, which holds to disruption budgets. It knows
// no cloud and asks nothing of the node.
type Mover struct {
	// Config is how the API server is reached; Client reads a pod from it before it is
	// moved. What a cache keeps of pods may lack what speaks against a hand-over, such as
	// their volumes.
	Config *rest.Config
	Client kubernetes.Interface
	// Cluster shows where replacements come to.
	Cluster Cluster
	Rules   placement.Rules
}

// Move moves one pod and waits until its replacement has a node. It returns an error
// beside [Failed], and where one says more than the outcome. When ctx ends, a hand-over
// that is under way is taken back.
func (m *Mover) Move(ctx context.Context, pod *corev1.Pod) (Moved, error) {
	client, err := drain.NewClient(m.Config, pod.Spec.NodeName)
	if err != nil {
		return Failed, err
	}
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	r := &rescue{Mover: m, client: client, ref: drain.PodRef{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}}
	switch gone, err := r.read(ctx); {
	case err != nil:
		return Failed, err
	case gone:
		return AlreadyGone, nil
	case !begun(r.pod) && drain.PolicyFor(r.pod, drain.HandOverAlways) == drain.HandOverNever:
		return r.evictFirst(ctx)
	}
	r.handOvers = drain.NewHandOvers(client, drain.RescueNotice)
	return r.replaceFirst(ctx)
}

// rescue is one pod's.
type rescue struct {
	*Mover
	client    *drain.Client
	handOvers *drain.HandOvers
	ref       drain.PodRef
	pod       *corev1.Pod // as it was last read
}

// read reads the pod as the API server has it, and says whether there is nothing left
// to move.
func (r *rescue) read(ctx context.Context) (gone bool, err error) {
	pod, err := r.Client.CoreV1().Pods(r.ref.Namespace).Get(ctx, r.ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && pod.UID != r.ref.UID:
		return true, nil
	case err != nil:
		return false, fmt.Errorf("reading pod %q: %w", r.ref, err)
	}
	r.pod = pod
	return !living(pod), nil
}

// replaceFirst hands the pod over, and evicts it when its replacement stands in for it
// on a long-lived node.
func (r *rescue) replaceFirst(ctx context.Context) (Moved, error) {
	before, err := r.fellows(ctx)
	if err != nil {
		return Failed, err
	}
	refusal, err := r.begin(ctx)
	switch {
	case err != nil:
		// It may have been carried out all the same.
		return Failed, errors.Join(err, r.takeBack(ctx))
	case refusal == drain.AlreadyHanded:
		before = nil // by a leader before this one: nobody knows which pod is new
	case refusal == drain.AlreadyEnding:
		return AlreadyGone, nil
	case refusal.Passes():
		return Postponed, nil
	case refusal != "":
		return r.evictFirst(ctx)
	}
	if end, err := r.awaitReplacement(ctx, before); end != HandedOver {
		return end, errors.Join(err, r.takeBack(ctx))
	}
	end, err := r.evict(ctx, HandedOver, replacedFor)
	if !end.OK() {
		return end, errors.Join(err, r.takeBack(ctx))
	}
	return end, err
}

// begin hands the pod over. Others may write it meanwhile, its kubelet for one; it is
// looked at again then.
func (r *rescue) begin(ctx context.Context) (drain.Refusal, error) {
	for try := 1; ; try++ {
		refusal, err := r.handOvers.Begin(ctx, r.pod)
		if !apierrors.IsConflict(err) || try == beginTries {
			return refusal, err
		}
		if err := pause(ctx, look); err != nil {
			return "", err
		}
		if gone, err := r.read(ctx); gone || err != nil {
			return drain.AlreadyEnding, err
		}
	}
}

// awaitReplacement waits until another pod stands in for one that is handed over, and
// sees where it came to. Before are the pods that were there already; nil is not known.
func (r *rescue) awaitReplacement(ctx context.Context, before sets.Set[types.UID]) (Moved, error) {
	end, why, err := r.handOvers.Await(ctx, r.ref)
	switch {
	case err != nil:
		return NoReplacement, err
	case end == drain.Failed:
		return NoReplacement, fmt.Errorf("awaiting the replacement of pod %q: %s", r.ref, why)
	case before == nil:
		return HandedOver, nil
	}
	return r.landed(ctx, before, HandedOver)
}

// evictFirst evicts the pod, and sees where its replacement comes to.
func (r *rescue) evictFirst(ctx context.Context) (Moved, error) {
	before, err := r.fellows(ctx)
	if err != nil {
		return Failed, err
	}
	if end, err := r.evict(ctx, Evicted, evictFor); end != Evicted {
		return end, err
	}
	return r.landed(ctx, before, Evicted)
}

// evict asks for the pod's eviction, for so long where the answer may be another in a
// moment, and returns as once it is accepted.
func (r *rescue) evict(ctx context.Context, as Moved, patience time.Duration) (Moved, error) {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := r.client.Evict(patient, r.ref, grace(r.pod))
		reply := drain.Classify(err)
		end := Failed
		switch reply.Verdict {
		case drain.Accepted:
			return as, nil
		case drain.Gone, drain.OtherPod:
			return AlreadyGone, nil
		case drain.BudgetNeverOpens, drain.NamespaceEnding:
			return BudgetClosed, err
		case drain.BudgetClosed, drain.BudgetStale, drain.BudgetContended:
			end = BudgetClosed
		case drain.Denied, drain.Unauthorized, drain.Overloaded, drain.Unreachable:
		}
		if pause(patient, reply.After) != nil {
			return end, err
		}
	}
}

// fellows are the pods of the pod's controller, as they are known now.
func (r *rescue) fellows(ctx context.Context) (sets.Set[types.UID], error) {
	view, err := r.Cluster.View(ctx)
	if err != nil {
		return nil, err
	}
	known, owner := sets.New[types.UID](), metav1.GetControllerOfNoCopy(r.pod)
	for _, pod := range view.Pods {
		if of := metav1.GetControllerOfNoCopy(pod); owner != nil && of != nil && of.UID == owner.UID {
			known.Insert(pod.UID)
		}
	}
	return known, nil
}

// landed waits until a pod of the same controller that was not there before has a node,
// and returns as unless that is a spot node.
func (r *rescue) landed(ctx context.Context, before sets.Set[types.UID], as Moved) (Moved, error) {
	owner := metav1.GetControllerOfNoCopy(r.pod)
	for {
		view, err := r.Cluster.View(ctx)
		if err != nil {
			return Failed, err
		}
		for _, pod := range view.Pods {
			of := metav1.GetControllerOfNoCopy(pod)
			if of == nil || of.UID != owner.UID || pod.Spec.NodeName == "" || before.Has(pod.UID) || !living(pod) {
				continue
			}
			if node := nodeNamed(view.Nodes, pod.Spec.NodeName); node != nil && r.Rules.Spot(node.Labels) {
				return OnSpotAgain, nil
			}
			return as, nil
		}
		if err := pause(ctx, look); err != nil {
			return NoReplacement, fmt.Errorf("awaiting the replacement of pod %q: %w", r.ref, err)
		}
	}
}

// takeBack undoes a hand-over, even after ctx has ended. A pod that is not handed over
// needs nothing.
func (r *rescue) takeBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer cancel()
	_, err := r.handOvers.Undo(ctx, r.ref)
	return err
}

// grace is the pod's own: a rescue is in no hurry.
func grace(pod *corev1.Pod) time.Duration {
	if seconds := pod.Spec.TerminationGracePeriodSeconds; seconds != nil {
		return time.Duration(max(1, *seconds)) * time.Second
	}
	return drain.DefaultGrace
}

func nodeNamed(nodes []*corev1.Node, name string) *corev1.Node {
	for _, node := range nodes {
		if node.Name == name {
			return node
		}
	}
	return nil
}

// pause waits; it fails when ctx ends.
func pause(ctx context.Context, duration time.Duration) error {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
