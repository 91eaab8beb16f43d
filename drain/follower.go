package drain

import (
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// follower is a [cache.ReflectorStore]: the reflector lists, watches and
// recovers, and the follower tells what is seen, all objects at first and every
// change after. Objects are known by UID, so that a namesake is another object.
type follower[T metav1.Object] struct {
	// first is told all objects, once; change each of them that changed or is
	// gone. They may block, which holds up the watch and loses nothing.
	first  func([]T)
	change func(object T, gone bool)

	mu     sync.Mutex
	synced bool
	known  map[types.UID]T
}

var _ cache.ReflectorStore = (*follower[metav1.Object])(nil)

// Add is called for an object that has come into sight.
func (f *follower[T]) Add(obj any) error { return f.Update(obj) }

// Update is called for an object that changed; the reflector also calls it when
// one was replaced by a namesake between two looks.
func (f *follower[T]) Update(obj any) error {
	object, err := as[T](obj)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.known[object.GetUID()] = object
	f.mu.Unlock()
	f.change(object, false)
	return nil
}

// Delete is called for an object that is gone.
func (f *follower[T]) Delete(obj any) error {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	object, err := as[T](obj)
	if err != nil {
		return err
	}
	f.mu.Lock()
	delete(f.known, object.GetUID())
	f.mu.Unlock()
	f.change(object, true)
	return nil
}

// Replace is called with all objects, at first and whenever the watch had to
// start anew; what went by in between is told as changes.
func (f *follower[T]) Replace(objs []any, _ string) error {
	now := make(map[types.UID]T, len(objs))
	all := make([]T, 0, len(objs))
	for _, obj := range objs {
		object, err := as[T](obj)
		if err != nil {
			return err
		}
		now[object.GetUID()] = object
		all = append(all, object)
	}
	f.mu.Lock()
	before, first := f.known, !f.synced
	f.known, f.synced = now, true
	f.mu.Unlock()

	if first {
		f.first(all)
		return nil
	}
	for uid, object := range before {
		if _, still := now[uid]; !still {
			f.change(object, true)
		}
	}
	for _, object := range all {
		f.change(object, false)
	}
	return nil
}

// Resync has no meaning here: nothing is kept that could differ.
func (f *follower[T]) Resync() error { return nil }

// get returns the object of that UID, if it is known.
func (f *follower[T]) get(uid types.UID) (object T, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	object, known = f.known[uid]
	return object, known
}

func as[T any](obj any) (T, error) {
	object, ok := obj.(T)
	if !ok {
		return object, fmt.Errorf("reading a watch: got %T, want %T", obj, object)
	}
	return object, nil
}
