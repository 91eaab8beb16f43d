package main

import (
	"context"
	"errors"
	"sync"
	"time"

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

// watcher takes down what the API server shows of a namespace, in order.
type watcher struct {
	factory informers.SharedInformerFactory
	stop    context.CancelFunc

	mu        sync.Mutex
	budgets   []budgetSight
	endpoints []endpointSight
}

var errNotSynced = errors.New("the first list did not arrive")

// watchNamespace begins to watch and returns when it has seen what there is. The
// caller ends it with close.
func watchNamespace(ctx context.Context, client kubernetes.Interface, namespace string) (*watcher, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &watcher{factory: informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace)), stop: stop}
	var synced []cache.InformerSynced
	for informer, see := range map[cache.SharedIndexInformer]func(any){
		w.factory.Policy().V1().PodDisruptionBudgets().Informer(): w.seeBudget,
		w.factory.Discovery().V1().EndpointSlices().Informer():    w.seeEndpoints,
	} {
		handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: see, UpdateFunc: func(_, after any) { see(after) },
		})
		if err != nil {
			stop()
			return nil, err
		}
		synced = append(synced, handler.HasSynced)
	}
	w.factory.Start(ctx.Done())
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
	w.factory.Shutdown()
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

// seen returns what was seen so far.
func (w *watcher) seen() ([]budgetSight, []endpointSight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]budgetSight(nil), w.budgets...), append([]endpointSight(nil), w.endpoints...)
}
