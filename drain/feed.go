package drain

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// Change is something that happened to one pod of the node.
type Change struct {
	// Pod is its newest known form; never nil.
	Pod *corev1.Pod
	// Gone is true when the API server has no such pod any more. A namesake
	// with another UID does not keep it.
	Gone bool
}

// Feed tells which pods a node has: all of them once, then every change. It is
// filled by one watch and ends with the context that it was made with.
type Feed struct {
	ctx     context.Context //nolint:containedctx // the feed lives exactly as long as its watch
	first   chan []corev1.Pod
	changes chan Change

	mu     sync.Mutex
	synced bool
	known  map[types.UID]*corev1.Pod
}

// changesBuffered is how many changes wait for a reader; more hold up the
// watch, which loses nothing.
const changesBuffered = 64

func newFeed(ctx context.Context) *Feed {
	return &Feed{
		ctx:     ctx,
		first:   make(chan []corev1.Pod, 1),
		changes: make(chan Change, changesBuffered),
		known:   map[types.UID]*corev1.Pod{},
	}
}

// Snapshot waits for the pods that the node has at first and returns them; it
// may be called once. It fails only when ctx ends before.
func (f *Feed) Snapshot(ctx context.Context) ([]corev1.Pod, error) {
	select {
	case pods := <-f.first:
		return pods, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the node's pods: %w", context.Cause(ctx))
	}
}

// Changes returns what happened since the snapshot, in order.
func (f *Feed) Changes() <-chan Change { return f.changes }

// The methods below make Feed a [cache.ReflectorStore]: the reflector lists,
// watches and recovers, and writes here what it sees.
var _ cache.ReflectorStore = (*Feed)(nil)

// Add is called for a pod that was bound to the node.
func (f *Feed) Add(obj any) error { return f.Update(obj) }

// Update is called for a pod that changed; the reflector also calls it when a
// pod was replaced by a namesake between two looks.
func (f *Feed) Update(obj any) error {
	pod, err := asPod(obj)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.known[pod.UID] = pod
	f.mu.Unlock()
	f.send(Change{Pod: pod})
	return nil
}

// Delete is called for a pod that is gone.
func (f *Feed) Delete(obj any) error {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	pod, err := asPod(obj)
	if err != nil {
		return err
	}
	f.forget(pod)
	return nil
}

// Replace is called with all pods, at first and whenever the watch had to start
// anew; what went by in between is told as changes.
func (f *Feed) Replace(objs []any, _ string) error {
	now := make(map[types.UID]*corev1.Pod, len(objs))
	all := make([]corev1.Pod, 0, len(objs))
	for _, obj := range objs {
		pod, err := asPod(obj)
		if err != nil {
			return err
		}
		now[pod.UID] = pod
		all = append(all, *pod)
	}
	f.mu.Lock()
	before, first := f.known, !f.synced
	f.known, f.synced = now, true
	f.mu.Unlock()

	if first {
		f.first <- all
		return nil
	}
	for uid, pod := range before {
		if now[uid] == nil {
			f.send(Change{Pod: pod, Gone: true})
		}
	}
	for _, pod := range now {
		f.send(Change{Pod: pod})
	}
	return nil
}

// Resync has no meaning here: nothing is kept that could differ.
func (f *Feed) Resync() error { return nil }

// forget tells that a pod is gone.
func (f *Feed) forget(pod *corev1.Pod) {
	f.mu.Lock()
	delete(f.known, pod.UID)
	f.mu.Unlock()
	f.send(Change{Pod: pod, Gone: true})
}

// pretend tells that a pod is gone which is not.
func (f *Feed) pretend(ref PodRef) {
	f.mu.Lock()
	pod := f.known[ref.UID]
	f.mu.Unlock()
	if pod != nil {
		f.send(Change{Pod: pod, Gone: true})
	}
}

func (f *Feed) send(change Change) {
	select {
	case f.changes <- change:
	case <-f.ctx.Done():
	}
}

func asPod(obj any) (*corev1.Pod, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("reading the node's pods: got %T", obj)
	}
	return pod, nil
}
