//go:build linux && e2e_nodes

package nodes_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// readiness follows how many ready pods the Deployments of a namespace have: pods, and not
// the status of the Deployments, which does not count a pod that is handed over.
type readiness struct {
	mu sync.Mutex
	// ready are the ready pods, by the label "app".
	ready map[string]map[types.UID]bool
	// without is what each app was without a ready pod, and since when.
	without []string
}

// followReadiness begins with the pods that are there: every Deployment has a ready one by
// then. It ends with the test.
func followReadiness(t *testing.T, cluster *nodes.Cluster, namespace string) *readiness {
	t.Helper()
	client := cluster.Lab().Client()
	deployments, err := client.AppsV1().Deployments(namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	r := &readiness{ready: map[string]map[types.UID]bool{}}
	for _, deployment := range deployments.Items {
		r.ready[deployment.Spec.Template.Labels["app"]] = map[types.UID]bool{}
	}
	ctx, stop := context.WithCancel(t.Context())
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	registration, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(pod any) { r.see(pod, false) },
		UpdateFunc: func(_, pod any) { r.see(pod, false) },
		DeleteFunc: func(pod any) { r.see(pod, true) },
	})
	must(t, err)
	factory.Start(ctx.Done())
	t.Cleanup(func() {
		stop()
		factory.Shutdown()
	})
	if !cache.WaitForCacheSync(within(t, time.Minute).Done(), registration.HasSynced) {
		t.Fatal("the pods could not be listed in a minute")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.without = nil // while the first list came in, one pod after the other
	for app, pods := range r.ready {
		if len(pods) == 0 {
			t.Fatalf("no pod of Deployment %q is ready: there is nothing to follow", app)
		}
	}
	return r
}

func (r *readiness) see(object any, gone bool) {
	if unknown, is := object.(cache.DeletedFinalStateUnknown); is {
		object = unknown.Obj
	}
	pod, is := object.(*corev1.Pod)
	if !is {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	app := pod.Labels["app"]
	pods, followed := r.ready[app]
	if !followed {
		return
	}
	had := len(pods) > 0
	if lab.PodReady(*pod) && !gone {
		pods[pod.UID] = true
	} else {
		delete(pods, pod.UID)
	}
	if had && len(pods) == 0 {
		r.without = append(r.without, fmt.Sprintf("%s at %s", app, time.Now().Format(time.TimeOnly)))
	}
}

// gaps says which Deployments have been without a ready pod, and when that began.
func (r *readiness) gaps() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.without...)
}
