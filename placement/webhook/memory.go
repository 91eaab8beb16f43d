package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
)

// surveyPause is the least time between two surveys of the nodes. Every pod that comes
// or goes changes what is free, and in a rollout that is all the time; a decision that
// is a second behind is as good as the scheduler's own look at the cluster.
const surveyPause = time.Second

// Memory is the [Cluster] that watches keep up to date. Make it with [NewMemory], let
// it [Memory.Watch] a cache, and [Memory.Run] it. Its methods are safe for concurrent
// use, and what they return must not be changed: it is the cache's.
type Memory struct {
	rules placement.Rules
	log   *slog.Logger
	// OnPolicies, if not nil, is told of the policies in force, first when they are
	// known and then whenever they change. It must not block. It is set before Run.
	OnPolicies func(placement.Policies)
	// LatelyPending, if not nil, lists the controllers of [placement.NewSnapshot]. It is
	// called at each survey and must not block; whoever answers calls Refresh when the
	// answer changes. It is set before Run.
	LatelyPending func() []types.UID

	policies   *mirror[*v1alpha1.PlacementPolicy]
	namespaces *mirror[*corev1.Namespace]
	nodes      *mirror[*corev1.Node]
	pods       *mirror[*corev1.Pod]
	synced     []toolscache.InformerSynced

	state atomic.Pointer[State]
	// rejected is what was logged of each policy that is not understood.
	rejected map[string]string
}

var _ Cluster = (*Memory)(nil)

// NewMemory returns a memory that knows nothing yet. The rules tell spot nodes from
// long-lived ones.
func NewMemory(rules placement.Rules, log *slog.Logger) *Memory {
	survey := newBell()
	return &Memory{
		rules: rules, log: log, rejected: map[string]string{},
		policies:   newMirror[*v1alpha1.PlacementPolicy](newBell()),
		namespaces: newMirror[*corev1.Namespace](newBell()),
		nodes:      newMirror[*corev1.Node](survey),
		pods:       newMirror[*corev1.Pod](survey),
	}
}

// Watch subscribes to what the memory has to know. It returns before any of it is
// known; an error means that the cache cannot watch it at all.
func (m *Memory) Watch(ctx context.Context, informers cache.Informers) error {
	for _, subscription := range []struct {
		object  client.Object
		handler toolscache.ResourceEventHandler
	}{
		{&v1alpha1.PlacementPolicy{}, m.policies},
		{&corev1.Namespace{}, m.namespaces},
		{&corev1.Node{}, m.nodes},
		{&corev1.Pod{}, m.pods},
	} {
		informer, err := informers.GetInformer(ctx, subscription.object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching objects of type %T: %w", subscription.object, err)
		}
		registration, err := informer.AddEventHandler(subscription.handler)
		if err != nil {
			return fmt.Errorf("watching objects of type %T: %w", subscription.object, err)
		}
		m.synced = append(m.synced, registration.HasSynced)
	}
	return nil
}

// Run keeps the state up to date until ctx ends.
func (m *Memory) Run(ctx context.Context) error {
	if !toolscache.WaitForCacheSync(ctx.Done(), m.synced...) {
		return nil // ctx has ended: there is nothing to keep
	}
	// What was rung for until now is in the first state.
	m.policies.bell.clear()
	m.nodes.bell.clear()
	m.publish(m.compile(), m.survey())
	m.log.Info("Learned the cluster", "policies", m.State().Policies.Len(), "namespaces", m.namespaces.len(), "nodes", m.nodes.len())
	surveys := m.nodes.bell.rung
	var rested <-chan time.Time // not nil while the nodes are not to be surveyed again
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.policies.bell.rung:
			state := *m.State()
			m.publish(m.compile(), state)
		case <-surveys:
			m.publish(m.State().Policies, m.survey())
			surveys, rested = nil, time.After(surveyPause)
		case <-rested:
			surveys, rested = m.nodes.bell.rung, nil
		}
	}
}

func (m *Memory) publish(policies placement.Policies, state State) {
	state.Policies = policies
	m.state.Store(&state)
}

// compile reads the policies, and tells of them.
func (m *Memory) compile() placement.Policies {
	var items []v1alpha1.PlacementPolicy
	for _, item := range m.policies.list() {
		items = append(items, *item)
	}
	policies, rejections := placement.Compile(items)
	rejected := make(map[string]string, len(rejections))
	for _, rejection := range rejections {
		text := rejection.Err.Error()
		if rejected[rejection.Policy] = text; m.rejected[rejection.Policy] != text {
			m.log.Warn("Ignored policy", "policy", rejection.Policy, "err", rejection.Err)
		}
	}
	m.rejected = rejected
	if m.OnPolicies != nil {
		m.OnPolicies(policies)
	}
	return policies
}

// survey reckons what the long-lived nodes can hold. Of the others only their
// existence counts for a decision, and not what is free on them: the pods there are
// most of a cluster's, and are not looked at.
func (m *Memory) survey() State {
	nodes := m.nodes.list()
	var longLived []*corev1.Node
	for _, node := range nodes {
		if m.rules.LongLived(node.Labels) {
			longLived = append(longLived, node)
		}
	}
	var lately []types.UID
	if m.LatelyPending != nil {
		lately = m.LatelyPending()
	}
	rules := m.rules.WithSoftTaints(placement.SoftTaints(m.rules, nodes))
	return State{Rules: rules, Capacity: placement.NewSnapshot(rules, placement.NodeStates(longLived, m.pods.list()), lately)}
}

// Refresh has the nodes surveyed anew, as when one of them changes. It does not block.
func (m *Memory) Refresh() { m.nodes.bell.ring() }

// State returns nil until everything was listed once.
func (m *Memory) State() *State { return m.state.Load() }

// Namespace returns what is known of a namespace.
func (m *Memory) Namespace(name string) (placement.Namespace, bool) {
	namespace, found := m.namespaces.get(types.NamespacedName{Name: name})
	if !found {
		return placement.Namespace{}, false
	}
	return placement.Namespace{Name: name, Labels: namespace.Labels, Annotations: namespace.Annotations}, true
}

var errUnknown = errors.New("the policies, namespaces, nodes and pods were not all listed yet")

// Ready returns an error until everything was listed once. A watch that breaks later
// does not take it back: what was known goes on being a better guide than nothing.
func (m *Memory) Ready() error {
	if m.State() == nil {
		return errUnknown
	}
	return nil
}

// bell wakes one waiter, once for any number of rings.
type bell struct{ rung chan struct{} }

func newBell() bell { return bell{rung: make(chan struct{}, 1)} }

func (b bell) ring() {
	select {
	case b.rung <- struct{}{}:
	default: // it was rung, and nobody has come yet
	}
}

func (b bell) clear() {
	select {
	case <-b.rung:
	default:
	}
}

// mirror keeps the objects that an informer tells of, and rings for each change.
type mirror[T client.Object] struct {
	bell    bell
	mu      sync.RWMutex
	objects map[types.NamespacedName]T
}

func newMirror[T client.Object](b bell) *mirror[T] {
	return &mirror[T]{bell: b, objects: map[types.NamespacedName]T{}}
}

// OnAdd is told of an object that is there.
func (m *mirror[T]) OnAdd(object any, _ bool) { m.set(object) }

// OnUpdate is told of an object that changed.
func (m *mirror[T]) OnUpdate(_, object any) { m.set(object) }

// OnDelete is told of an object that is gone.
func (m *mirror[T]) OnDelete(object any) {
	if last, missed := object.(toolscache.DeletedFinalStateUnknown); missed {
		object = last.Obj
	}
	if gone, is := object.(T); is {
		m.mu.Lock()
		delete(m.objects, client.ObjectKeyFromObject(gone))
		m.mu.Unlock()
		m.bell.ring()
	}
}

func (m *mirror[T]) set(object any) {
	if current, is := object.(T); is {
		m.mu.Lock()
		m.objects[client.ObjectKeyFromObject(current)] = current
		m.mu.Unlock()
		m.bell.ring()
	}
}

func (m *mirror[T]) get(key types.NamespacedName) (T, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	object, found := m.objects[key]
	return object, found
}

func (m *mirror[T]) list() []T {
	m.mu.RLock()
	defer m.mu.RUnlock()
	objects := make([]T, 0, len(m.objects))
	for _, object := range m.objects {
		objects = append(objects, object)
	}
	return objects
}

func (m *mirror[T]) len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.objects)
}
