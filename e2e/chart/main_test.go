package chart

import (
	"context"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestMain(m *testing.M) { lab.Main(agentrun.Suite(m)) }

func rendered(t *testing.T, options Options) Objects {
	t.Helper()
	objects, err := Render(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// object reads one rendered object.
func object[T any](t *testing.T, objects Objects, kind, name string) *T {
	t.Helper()
	into := new(T)
	if err := objects.Read(kind, name, into); err != nil {
		t.Fatal(err)
	}
	return into
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within returns a context for a wait that must succeed in time.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// await waits for a state that nothing announces.
func await(t *testing.T, what string, limit time.Duration, is func(context.Context) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		return is(ctx), nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

// granted are the kinds by which the chart says who may do what.
var granted = []string{"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}

// named are the values by which a chart in a shared lab has names of its own in the cluster,
// and the beginning of these names, which the chart cuts when it is too long.
func named(namespace string) (values map[string]any, name string) {
	name = "chart" + namespace[strings.LastIndex(namespace, "-"):]
	return map[string]any{"fullnameOverride": name}, name
}

// accountOf makes a service account with the rights that the chart grants the program of
// that account, and none but these. It returns a kubeconfig of it.
func accountOf(t *testing.T, l *lab.Lab, namespace, name string, objects Objects) (kubeconfig string) {
	t.Helper()
	kubeconfig, err := l.ServiceAccount(t.Context(), namespace, name, []rbacv1.PolicyRule{})
	must(t, err)
	text, err := objects.Of(granted...).YAML()
	must(t, err)
	must(t, l.Apply(t.Context(), namespace, text))
	return kubeconfig
}

// refused returns what a user was refused for want of a right.
func refused(t *testing.T, l *lab.Lab, user string) []lab.Request {
	t.Helper()
	requests, err := l.Requests(t.Context(), user)
	must(t, err)
	if len(requests) == 0 {
		t.Fatalf("%s has asked for nothing: nothing is proven", user)
	}
	var refused []lab.Request
	for _, r := range requests {
		if r.Code == 403 {
			refused = append(refused, r)
		}
	}
	return refused
}
