package drain

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// HandOvers hands pods of one node over, waits for their replacements, and takes
// them back. It holds no state that the pods do not carry: another one, of a
// later agent, can go on with what this one has begun. Its methods may be called
// from several goroutines.
type HandOvers struct {
	client *Client
	notice string

	mu         sync.Mutex
	lineages   map[types.UID]*lineage                    // by ReplicaSet
	around     map[string]*remembered[*surroundings]     // by namespace
	handed     map[string]*remembered[map[types.UID]int] // by namespace, then Deployment
	available  map[string]*remembered[int32]             // by Deployment
	begun      map[types.UID]begun                       // by pod
	owners     map[types.UID]lock                        // by pod; whoever holds it may change the pod's owner
	followings map[types.UID]*following                  // by Deployment
}

// begun is a hand-over that is under way.
type begun struct {
	HandOver
	deployment types.NamespacedName
	uid        types.UID
}

// lineage is the ReplicaSet of a pod, with its Deployment. Whoever holds lock may
// use the rest: of two pods of one Deployment, the second must see the first.
type lineage struct {
	lock       lock
	read       time.Time
	replicaSet *appsv1.ReplicaSet
	deployment *appsv1.Deployment
	refusal    Refusal
}

const (
	// lineageAge is how long a Deployment is believed: twenty pods of one cost
	// the reads of one, and a rollout is noticed before it has got far.
	lineageAge = time.Second
	// surroundingsAge is longer: what selects on a hash did so yesterday.
	surroundingsAge = 5 * time.Second
)

// NewHandOvers returns the hand-overs of a drain for notice. It asks nothing yet
// and needs no closing.
func NewHandOvers(client *Client, notice string) *HandOvers {
	return &HandOvers{
		client: client, notice: notice,
		lineages:   map[types.UID]*lineage{},
		around:     map[string]*remembered[*surroundings]{},
		handed:     map[string]*remembered[map[types.UID]int]{},
		available:  map[string]*remembered[int32]{},
		begun:      map[types.UID]begun{},
		owners:     map[types.UID]lock{},
		followings: map[types.UID]*following{},
	}
}

// Begin hands pod over, given as it was last seen, or says why not. An error
// means that it is not known whether it may be, or whether it was: ask again with
// the pod as it is seen then. After [AlreadyHanded], which is also said of a pod
// that an earlier agent has handed over, go on with [HandOvers.Await].
func (h *HandOvers) Begin(ctx context.Context, pod *corev1.Pod) (Refusal, error) {
	owning := h.owning(pod.UID)
	if err := owning.acquire(ctx); err != nil {
		return "", fmt.Errorf("handing over pod %q: %w", refOf(pod), err)
	}
	defer owning.release()
	refusal := refusePod(pod)
	if refusal == AlreadyHanded {
		return h.resume(ctx, pod)
	}
	if refusal != "" {
		return refusal, nil
	}
	w := h.lineage(metav1.GetControllerOf(pod).UID)
	if err := w.lock.acquire(ctx); err != nil {
		return "", fmt.Errorf("handing over pod %q: %w", refOf(pod), err)
	}
	defer w.lock.release()
	if refusal, err := h.refuse(ctx, pod, w); refusal != "" || err != nil {
		return refusal, err
	}
	counts := availableAt(pod, w.deployment.Spec.MinReadySeconds, time.Now())
	handOver := HandOver{
		Hash:          pod.Labels[hashLabel],
		ReplicaSet:    w.replicaSet.Name,
		ReplicaSetUID: w.replicaSet.UID,
		Notice:        h.notice,
		Available:     enough(w.deployment, counts),
	}
	handed, err := h.send(ctx, refOf(pod), handOverPatch(pod, w.deployment, handOver))
	if err != nil {
		w.read = time.Time{}
		return "", err
	}
	if h.client.dryRun != nil {
		return "", nil
	}
	// What the Deployment's status will say in a moment.
	if counts {
		w.deployment.Status.AvailableReplicas--
	}
	return h.settle(ctx, handed, handed.ResourceVersion, handOver, w.deployment)
}

// heardOut is how much longer the reply to a hand-over is waited for when its drain
// has ended or the pod is on its way: whoever undoes it has to know whether there is
// anything to undo. A reply that takes longer is left to whoever undoes the node.
const heardOut = time.Second

// send hands a pod over, unless ctx has ended before.
func (h *HandOvers) send(ctx context.Context, ref PodRef, patch podPatch) (*corev1.Pod, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("handing over pod %q: %w", ref, context.Cause(ctx))
	}
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(heardOut, cancel) })()
	return h.client.changePod(sending, "handing over", ref, patch)
}

// refuse asks everything that may speak against handing pod over, the cheap
// questions first. w is locked.
func (h *HandOvers) refuse(ctx context.Context, pod *corev1.Pod, w *lineage) (Refusal, error) {
	if err := h.refresh(ctx, pod, w); err != nil || w.refusal != "" {
		return w.refusal, err
	}
	handed, err := remember(ctx, h, h.handed, pod.Namespace, lineageAge, func(ctx context.Context) (map[types.UID]int, error) {
		return h.client.handedOver(ctx, pod.Namespace, "")
	})
	if err != nil {
		return "", err
	}
	if refusal := refuseDeployment(w.deployment, w.replicaSet, h.count(handed, w.deployment.UID, 0)); refusal != "" {
		return refusal, nil
	}
	exclusive, err := h.client.holdsExclusiveVolume(ctx, pod)
	if err != nil {
		return "", err
	}
	if exclusive {
		return ReadWriteOnce, nil
	}
	around, err := remember(ctx, h, h.around, pod.Namespace, surroundingsAge, func(ctx context.Context) (*surroundings, error) {
		return h.client.surroundings(ctx, pod.Namespace)
	})
	if err != nil {
		return "", err
	}
	return refuseSurroundings(pod, around), nil
}

// refresh reads the pod's ReplicaSet and its Deployment, if that is some time ago.
func (h *HandOvers) refresh(ctx context.Context, pod *corev1.Pod, w *lineage) error {
	if time.Since(w.read) < lineageAge {
		return nil
	}
	w.refusal = ""
	owner := metav1.GetControllerOf(pod)
	rs, err := h.client.replicaSet(ctx, pod.Namespace, owner.Name)
	switch {
	case apierrors.IsNotFound(err), err == nil && rs.UID != owner.UID:
		w.refusal = NotTheCurrentReplicaSet
		return nil
	case err != nil:
		return err
	}
	var parent *metav1.OwnerReference
	if parent, w.refusal = refuseOwner(rs); w.refusal != "" {
		w.read = time.Now()
		return nil
	}
	deployment, err := h.client.deployment(ctx, pod.Namespace, parent.Name)
	switch {
	case apierrors.IsNotFound(err), err == nil && deployment.UID != parent.UID:
		w.refusal = NotTheCurrentReplicaSet
		return nil
	case err != nil:
		return err
	}
	w.replicaSet, w.deployment, w.read = rs, deployment, time.Now()
	return nil
}

// settle looks whether a pod that is handed over has got one of the surge's places,
// as things were at version; empty means now. Two agents may have seen the last
// place free. The API server can show how things were at the very moment of a
// patch, and that is the same whoever asks: the pods that were handed over then
// came first, and whoever finds itself one too many goes back. So the first always
// keeps its place, and the places are never overdrawn for longer than it takes to
// ask. A pod that cannot go back, since its ReplicaSet is outdated, goes on.
func (h *HandOvers) settle(
	ctx context.Context, pod *corev1.Pod, version string, handOver HandOver, deployment *appsv1.Deployment,
) (Refusal, error) {
	then, err := h.client.handedOver(ctx, pod.Namespace, version)
	if err != nil {
		return "", err
	}
	if then[deployment.UID] > maxSurge(deployment) {
		undone, err := h.takeBack(ctx, refOf(pod))
		if err != nil {
			return "", err
		}
		if undone {
			return SurgeInUse, nil
		}
	}
	h.mu.Lock()
	h.begun[pod.UID] = begun{
		HandOver:   handOver,
		deployment: types.NamespacedName{Namespace: deployment.Namespace, Name: deployment.Name},
		uid:        deployment.UID,
	}
	var known map[types.UID]int
	if r := h.handed[pod.Namespace]; r != nil {
		known = r.value
	}
	h.mu.Unlock()
	h.count(known, deployment.UID, 1)
	return "", nil
}

// resume goes on with a pod that is handed over already: where that was begun by
// another agent, or a reply was lost, nobody may have looked at the surge yet.
func (h *HandOvers) resume(ctx context.Context, pod *corev1.Pod) (Refusal, error) {
	h.mu.Lock()
	_, known := h.begun[pod.UID]
	h.mu.Unlock()
	if known {
		return AlreadyHanded, nil
	}
	handOver, err := HandOverOf(pod)
	if err != nil {
		return "", err
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return AlreadyHanded, nil
	}
	deployment, err := h.client.deployment(ctx, pod.Namespace, owner.Name)
	switch {
	case apierrors.IsNotFound(err):
		return AlreadyHanded, nil // it goes with its Deployment
	case err != nil:
		return "", err
	}
	// How things were at its patch may be forgotten by now. Those who have come since
	// count too; at worst this one goes back in vain and is handed over again.
	if refusal, err := h.settle(ctx, pod, "", *handOver, deployment); refusal != "" || err != nil {
		return refusal, err
	}
	return AlreadyHanded, nil
}

func (h *HandOvers) owning(pod types.UID) lock {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.owners[pod]
	if l == nil {
		l = newLock()
		h.owners[pod] = l
	}
	return l
}

func (h *HandOvers) lineage(replicaSet types.UID) *lineage {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.lineages[replicaSet]
	if w == nil {
		w = &lineage{lock: newLock()}
		h.lineages[replicaSet] = w
	}
	return w
}

// count adds to a Deployment's handed-over pods, as last counted, and returns them.
func (h *HandOvers) count(handed map[types.UID]int, deployment types.UID, more int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if handed != nil {
		handed[deployment] += more
	}
	return handed[deployment]
}
