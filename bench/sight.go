package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// budgetSight is what a watcher saw a budget allow from a moment on.
type budgetSight struct {
	at      time.Time
	name    string
	allowed int
}

// endpointSight is which pods a watcher saw ready in an EndpointSlice from a moment
// on.
type endpointSight struct {
	at             time.Time
	service, slice string
	ready          []types.UID
}

// watcher takes down what the API server shows of a namespace and of the nodes, in
// order.
type watcher struct {
	factories []informers.SharedInformerFactory
	stop      context.CancelFunc

	mu        sync.Mutex
	cordons   map[string]time.Time // by node: when it was first seen unschedulable
	budgets   []budgetSight
	endpoints []endpointSight
}

var errNotSynced = errors.New("the first list did not arrive")

// watchNamespace begins to watch and returns when it has seen what there is. The
// caller ends it with close.
func watchNamespace(ctx context.Context, client kubernetes.Interface, namespace string) (*watcher, error) {
	ctx, stop := context.WithCancel(ctx)
	cluster := informers.NewSharedInformerFactory(client, 0)
	local := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	w := &watcher{factories: []informers.SharedInformerFactory{cluster, local}, stop: stop, cordons: map[string]time.Time{}}
	var synced []cache.InformerSynced
	for informer, see := range map[cache.SharedIndexInformer]func(any){
		cluster.Core().V1().Nodes().Informer():                w.seeNode,
		local.Policy().V1().PodDisruptionBudgets().Informer(): w.seeBudget,
		local.Discovery().V1().EndpointSlices().Informer():    w.seeEndpoints,
	} {
		handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: see, UpdateFunc: func(_, after any) { see(after) },
		})
		if err != nil {
			w.close()
			return nil, err
		}
		synced = append(synced, handler.HasSynced)
	}
	for _, factory := range w.factories {
		factory.Start(ctx.Done())
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !cache.WaitForCacheSync(waiting.Done(), synced...) {
		w.close()
		return nil, errNotSynced
	}
	return w, nil
}

func (w *watcher) close() {
	w.stop()
	for _, factory := range w.factories {
		factory.Shutdown()
	}
}

func (w *watcher) seeNode(object any) {
	node, is := object.(*corev1.Node)
	if !is || !node.Spec.Unschedulable {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.cordons[node.Name]; !known {
		w.cordons[node.Name] = time.Now()
	}
}

func (w *watcher) seeBudget(object any) {
	budget, is := object.(*policyv1.PodDisruptionBudget)
	if !is {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.budgets = append(w.budgets, budgetSight{time.Now(), budget.Name, int(budget.Status.DisruptionsAllowed)})
}

func (w *watcher) seeEndpoints(object any) {
	slice, is := object.(*discoveryv1.EndpointSlice)
	if !is {
		return
	}
	sight := endpointSight{at: time.Now(), service: slice.Labels[discoveryv1.LabelServiceName], slice: slice.Name}
	for _, endpoint := range slice.Endpoints {
		// A nil condition means ready.
		if ready := endpoint.Conditions.Ready; endpoint.TargetRef != nil && (ready == nil || *ready) {
			sight.ready = append(sight.ready, endpoint.TargetRef.UID)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endpoints = append(w.endpoints, sight)
}

// tell adds what was seen so far to the evidence.
func (w *watcher) tell(e *evidence) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.cordons, e.budgets, e.endpoints = maps.Clone(w.cordons), slices.Clone(w.budgets), slices.Clone(w.endpoints)
}
