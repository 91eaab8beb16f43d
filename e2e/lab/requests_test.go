package lab_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// account is a client of a service account that may do anything, and its user name.
func account(t *testing.T, l *lab.Lab, namespace string) (kubernetes.Interface, string) {
	t.Helper()
	path, err := l.ServiceAccount(t.Context(), namespace, "tester", []rbacv1.PolicyRule{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
	})
	must(t, err)
	config, err := clientcmd.BuildConfigFromFlags("", path)
	must(t, err)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	return client, lab.ServiceAccountUser(namespace, "tester")
}

func TestRequestsAreCompleteAtOnce(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	client, user := account(t, l, namespace)
	const rounds, parallel = 20, 10
	for round := range rounds {
		var group sync.WaitGroup
		for range parallel {
			group.Go(func() {
				// Large replies, for which the server writes to the network before it is done.
				if _, err := client.RbacV1().ClusterRoles().List(t.Context(), metav1.ListOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		requests, err := l.Requests(t.Context(), user)
		must(t, err)
		if want := (round + 1) * parallel; len(requests) != want {
			t.Fatalf("%d requests after %d replies, want all of them", len(requests), want)
		}
		for _, r := range requests {
			if r.Code != 200 {
				t.Fatalf("request = %+v, want its code", r)
			}
		}
	}
}

func TestRequestsTellWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	node := l.Node(t, lab.NodeSpec{Name: namespace})
	one := runPod(t, l, namespace, "one", node.Name(), nil)
	two := runPod(t, l, namespace, "two", node.Name(), nil)
	client, user := account(t, l, namespace)
	ctx, pods := t.Context(), client.CoreV1().Pods(namespace)

	_, err := client.CoreV1().Nodes().Patch(ctx, node.Name(), types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`),
		metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	must(t, err)
	evict := func(name string, options metav1.DeleteOptions) error {
		return pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name}, DeleteOptions: &options})
	}
	grace, wrong := int64(7), types.UID("11111111-1111-1111-1111-111111111111")
	must(t, evict("one", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}))
	if err := evict("one", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}}); err == nil {
		t.Error("evicting with a wrong uid succeeded")
	}
	must(t, evict("one", metav1.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &one.UID}}))
	must(t, pods.Delete(ctx, "two", metav1.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &two.UID}}))
	watch, err := pods.Watch(ctx, metav1.ListOptions{})
	must(t, err)
	defer watch.Stop()

	got, err := l.Requests(t.Context(), user)
	must(t, err)
	for i := range got {
		if got[i].Time.IsZero() || got[i].Path == "" || got[i].UserAgent == "" {
			t.Errorf("request = %+v, want its time, path and user agent", got[i])
		}
		got[i].Time, got[i].Path, got[i].UserAgent = one.CreationTimestamp.Time, "", ""
	}
	at := one.CreationTimestamp.Time
	eviction := lab.Request{Time: at, Verb: "create", Resource: "pods", Subresource: "eviction", Namespace: namespace, Name: "one", Code: 201}
	dry, conflict, granted := eviction, eviction, eviction
	dry.DryRun = true
	conflict.UID, conflict.Code = wrong, 409
	granted.UID, granted.GracePeriodSeconds = one.UID, &grace
	want := []lab.Request{
		{Time: at, Verb: "patch", Resource: "nodes", Name: node.Name(), Code: 200, DryRun: true},
		dry, conflict, granted,
		{Time: at, Verb: "delete", Resource: "pods", Namespace: namespace, Name: "two", Code: 200, GracePeriodSeconds: &grace, UID: two.UID},
		{Time: at, Verb: "watch", Resource: "pods", Namespace: namespace, Code: 200},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests differ (-want +got):\n%s", diff)
	}
}
