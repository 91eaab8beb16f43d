package lab_test

import (
	"context"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestSmoke(t *testing.T) {
	began := time.Now()
	l := lab.Shared(t)
	t.Logf("start %s", time.Since(began))
	ns := l.Namespace(t)
	t.Logf("ns %s", time.Since(began))
	l.Node(t, lab.NodeSpec{Name: "a"})
	t.Logf("node %s", time.Since(began))
	if err := l.Apply(t.Context(), ns, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 20
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := l.WaitPods(ctx, ns, "app=web", lab.AllReady(20)); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready %s", time.Since(began))
	path, err := l.ServiceAccount(t.Context(), "agents", "agent", []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	if _, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := l.Requests(lab.ServiceAccountUser("agents", "agent"))
	t.Logf("%+v %v", r, err)
	if err := l.Client().CoreV1().Pods(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	for r := range l.Watch(ctx) {
		if r.End != lab.Running {
			t.Logf("%+v", r)
			break
		}
	}
}
