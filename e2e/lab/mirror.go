package lab

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
)

// object is a Kubernetes object by pointer; its zero value is nil.
type object interface {
	comparable
	metav1.Object
	runtime.Object
}

// mirror keeps the API server's objects of one kind in step by a watch that
// survives the API server. It is a store for client-go's Reflector, which informers
// are built on, because an informer's retries back off to half a minute: too long
// for tests that take the API server away for seconds.
type mirror[T object] struct {
	// news is called for every change, one at a time: before is nil for a new object,
	// after for one that is gone. It may be nil.
	news func(before, after T)

	mu      sync.Mutex
	objects map[types.UID]T
	synced  bool
	changed chan struct{} // closed and replaced at every change
}

var _ cache.ReflectorStore = (*mirror[*metav1.PartialObjectMetadata])(nil)

func newMirror[T object](news func(before, after T)) *mirror[T] {
	return &mirror[T]{news: news, objects: map[types.UID]T{}, changed: make(chan struct{})}
}

// run watches until ctx has ended.
func (m *mirror[T]) run(ctx context.Context, client cache.Getter, resource, namespace string, options func(*metav1.ListOptions)) {
	if options == nil {
		options = func(*metav1.ListOptions) {}
	}
	var kind T
	cache.NewReflectorWithOptions(
		cache.NewFilteredListWatchFromClient(client, resource, namespace, options), kind, m,
		cache.ReflectorOptions{
			Name:    "ebbtide-lab",
			Backoff: &wait.Backoff{Duration: 100 * time.Millisecond, Factor: 1.5, Steps: 5, Cap: 500 * time.Millisecond, Jitter: 0.2},
		},
	).RunWithContext(ctx)
}

// wait returns when cond holds for all objects together, after the first list at
// the earliest, or when ctx has ended.
func (m *mirror[T]) wait(ctx context.Context, cond func([]T) bool) error {
	gather := time.NewTimer(0)
	<-gather.C
	defer gather.Stop()
	for {
		m.mu.Lock()
		current, synced, changed := m.list(), m.synced, m.changed
		m.mu.Unlock()
		if synced && cond(current) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		// Changes come in bursts of hundreds, and cond may look at thousands of objects.
		gather.Reset(5 * time.Millisecond)
		<-gather.C
	}
}

func (m *mirror[T]) snapshot() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list()
}

// list needs the lock. The order is stable, for messages.
func (m *mirror[T]) list() []T {
	all := make([]T, 0, len(m.objects))
	for _, o := range m.objects {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return all
}

// Add stores a new object.
func (m *mirror[T]) Add(o any) error { return m.set(o) }

// Update stores a changed object.
func (m *mirror[T]) Update(o any) error { return m.set(o) }

func (m *mirror[T]) set(o any) error {
	after, ok := o.(T)
	if !ok {
		return fmt.Errorf("mirroring: unexpected object of type %T", o)
	}
	m.mu.Lock()
	before := m.objects[after.GetUID()]
	m.objects[after.GetUID()] = after
	m.wake()
	m.mu.Unlock()
	m.tell(before, after)
	return nil
}

// Delete forgets an object.
func (m *mirror[T]) Delete(o any) error {
	before, ok := o.(T)
	if !ok {
		return fmt.Errorf("mirroring: unexpected object of type %T", o)
	}
	m.mu.Lock()
	delete(m.objects, before.GetUID())
	m.wake()
	m.mu.Unlock()
	var none T
	m.tell(before, none)
	return nil
}

// Replace takes a fresh list: the first one, and one after a watch that was too old.
func (m *mirror[T]) Replace(list []any, _ string) error {
	fresh := make(map[types.UID]T, len(list))
	for _, o := range list {
		after, ok := o.(T)
		if !ok {
			return fmt.Errorf("mirroring: unexpected object of type %T", o)
		}
		fresh[after.GetUID()] = after
	}
	m.mu.Lock()
	old := m.objects
	m.objects, m.synced = fresh, true
	m.wake()
	m.mu.Unlock()
	var none T
	for uid, before := range old {
		if _, kept := fresh[uid]; !kept {
			m.tell(before, none)
		}
	}
	for uid, after := range fresh {
		m.tell(old[uid], after)
	}
	return nil
}

// Resync does nothing: nobody asks for it.
func (m *mirror[T]) Resync() error { return nil }

func (m *mirror[T]) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *mirror[T]) tell(before, after T) {
	if m.news != nil {
		m.news(before, after)
	}
}
