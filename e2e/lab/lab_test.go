package lab_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

var hold = flag.Bool("hold", false, "run no test: start a lab, describe it on stdout and wait to be killed")

func TestMain(m *testing.M) {
	flag.Parse()
	if *hold {
		holdLab()
	}
	goleak.VerifyTestMain(lab.Suite(m))
}

// within bounds one wait of a test. It is far above what an idle machine needs.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTwoLabsLiveSideBySide(t *testing.T) {
	t.Parallel()
	one, err := lab.Start(t.Context(), lab.Options{})
	must(t, err)
	defer func() { must(t, one.Close()) }()
	other := lab.Shared(t)

	_, err = one.Client().CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "only-in-one"}}, metav1.CreateOptions{})
	must(t, err)
	if _, err := other.Client().CoreV1().Namespaces().Get(t.Context(), "only-in-one", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("reading a namespace of another lab: %v, want not found", err)
	}
	must(t, one.Close())
	if _, err := os.Stat(one.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state folder of a closed lab: %v, want that it does not exist", err)
	}
	for _, c := range lab.Components() {
		if pid := one.PID(c); pid != 0 {
			t.Errorf("%s of a closed lab runs as process %d", c, pid)
		}
	}
	if _, err := other.Client().CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Errorf("the other lab after the first was closed: %v", err)
	}
}

func TestKubeconfigIsTheAdministrators(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	must(t, err)
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	version, err := client.Discovery().ServerVersion()
	must(t, err)
	if version.GitVersion != l.Version() || l.Version() == "" {
		t.Errorf("server version = %q, lab says %q, want the same", version.GitVersion, l.Version())
	}
	if _, err := client.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("listing secrets as administrator: %v", err)
	}
}

func TestServiceAccountMayDoWhatItsRulesSayAndNoMore(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	path, err := l.ServiceAccount(t.Context(), namespace, "reader", []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
	})
	must(t, err)
	config, err := clientcmd.BuildConfigFromFlags("", path)
	must(t, err)
	if config.BearerTokenFile == "" {
		t.Error("the kubeconfig names no token file: nobody could take its token away")
	}
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	if _, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("listing pods: %v", err)
	}
	if _, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing nodes: %v, want forbidden", err)
	}
	other, err := l.ServiceAccount(t.Context(), namespace, "nobody", nil)
	must(t, err)
	config, err = clientcmd.BuildConfigFromFlags("", other)
	must(t, err)
	nobody, err := kubernetes.NewForConfig(config)
	must(t, err)
	if _, err := nobody.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing pods without rules: %v, want forbidden", err)
	}
}

func TestApplyTellsWhichObjectIsWrong(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	err := l.Apply(t.Context(), namespace, `
apiVersion: v1
kind: ConfigMap
metadata: {name: good}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: bad}
datum: {}
`)
	if got, want := errorText(err), `creating ConfigMap "bad": `; len(got) < len(want) || got[:len(want)] != want {
		t.Errorf("error = %q, want it to begin with %q", got, want)
	}
	if _, err := l.Client().CoreV1().ConfigMaps(namespace).Get(t.Context(), "good", metav1.GetOptions{}); err != nil {
		t.Errorf("the object before the wrong one: %v", err)
	}
}

func TestWaitPodsTellsTheLastState(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	l.Node(t, lab.NodeSpec{Name: namespace})
	must(t, l.Apply(t.Context(), namespace, podYAML("lonely", "no-such-node", nil)))
	ctx := within(t, 2*time.Second)
	err := l.WaitPods(ctx, namespace, "", lab.AllReady(1))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error = %v, want that the deadline has passed", err)
	}
	for _, want := range []string{"lonely Pending ready=false", `node=""`, "didn't match"} {
		if !contains(err.Error(), want) {
			t.Errorf("error = %q, want it to tell %q", err, want)
		}
	}
}
