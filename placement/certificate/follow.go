package certificate

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// object is a Kubernetes object by pointer; its zero value is nil.
type object interface {
	comparable
	metav1.Object
	runtime.Object
}

// client is what following one object takes: no list, so that RBAC may name it.
type client[T object] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// follower holds the newest known version of one object. It is a store for
// client-go's Reflector.
type follower[T object] struct {
	news chan<- struct{} // told of every change; a full channel is told enough

	mu      sync.Mutex
	current T // nil: there is none
	known   bool
}

var _ cache.ReflectorStore = (*follower[*metav1.PartialObjectMetadata])(nil)

// get returns the object, nil when there is none, and whether it was read at all yet.
// It is not the caller's to change.
func (f *follower[T]) get() (current T, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current, f.known
}

// rewatchDelay keeps a watch that is refused from coming back in a hot loop.
var rewatchDelay = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 8, Cap: 15 * time.Second}

// run follows the object called name until ctx ends.
func (f *follower[T]) run(ctx context.Context, from client[T], name string) {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	lists := &cache.ListWatch{
		// Only asked where the API server streams no lists.
		ListWithContextFunc: func(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
			// Without a resourceVersion, the watch begins with what there is. That of an
			// object which nobody has changed for a while would be too old for it.
			list := &metav1.List{}
			found, err := from.Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return list, nil
			}
			list.Items = []runtime.RawExtension{{Object: found}}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return from.Watch(ctx, options)
		},
	}
	var kind T
	backoff := rewatchDelay
	cache.NewReflectorWithOptions(lists, kind, f, cache.ReflectorOptions{
		Name: "certificate of " + name, Backoff: &backoff,
	}).RunWithContext(ctx)
}

// Add takes a new object.
func (f *follower[T]) Add(o any) error { return f.event(o, false) }

// Update takes a changed object.
func (f *follower[T]) Update(o any) error { return f.event(o, false) }

// Delete takes an object that is gone.
func (f *follower[T]) Delete(o any) error { return f.event(o, true) }

func (f *follower[T]) event(o any, gone bool) error {
	version, is := o.(T)
	if !is {
		return fmt.Errorf("following: unexpected object of type %T", o)
	}
	f.learn(version, gone)
	return nil
}

// learn takes a version of the object from a watch or from the reply to a write. They
// may come in any order: what is older than what is known changes nothing.
func (f *follower[T]) learn(version T, gone bool) {
	var none T
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current != none {
		order, err := resourceversion.CompareResourceVersion(version.GetResourceVersion(), f.current.GetResourceVersion())
		if err == nil && order < 0 {
			return
		}
	}
	if gone {
		version = none
	}
	f.replace(version)
}

// Replace takes what there is, whatever was known: after a restore of etcd, versions
// start anew.
func (f *follower[T]) Replace(list []any, _ string) error {
	var current T
	for _, o := range list {
		var is bool
		if current, is = o.(T); !is {
			return fmt.Errorf("following: unexpected object of type %T", o)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replace(current)
	return nil
}

// replace needs the lock.
func (f *follower[T]) replace(current T) {
	f.current, f.known = current, true
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// Resync has nothing to do: the keeper looks at everything in every step.
func (f *follower[T]) Resync() error { return nil }
