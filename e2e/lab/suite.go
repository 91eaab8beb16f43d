package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// shared is the lab of this test binary.
var shared struct {
	sync.Mutex
	lab     *Lab
	err     error // of the one attempt to start it
	managed bool  // Suite will close it
}

// Runner is what [testing.M] is to a TestMain.
type Runner interface{ Run() int }

// Main runs a package's tests and closes their shared lab:
//
//	func TestMain(m *testing.M) { lab.Main(m) }
func Main(m Runner) { os.Exit(Suite(m).Run()) }

// Suite wraps a package's tests so that their shared lab is closed after them. It is
// for those who need more around the tests than Main:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(lab.Suite(m)) }
func Suite(m Runner) Runner { return suite{m} }

type suite struct{ tests Runner }

// Run runs the tests. A lab that cannot be closed fails them.
func (s suite) Run() int {
	shared.Lock()
	shared.managed = true
	shared.Unlock()
	code := s.tests.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.lab == nil {
		return code
	}
	if err := shared.lab.Close(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "lab: closing: %v\n", err)
		return max(code, 1)
	}
	return code
}

// Shared returns the lab that all tests of this test binary share, and starts it at
// the first call. Tests keep apart by namespace and node name. The package's
// TestMain has to use Main or Suite.
func Shared(t testing.TB) *Lab {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.managed {
		t.Fatal("lab.Shared needs a TestMain with lab.Main or lab.Suite, or nobody closes the lab")
	}
	if shared.lab == nil && shared.err == nil {
		// Not the test's context: the lab outlives the test.
		shared.lab, shared.err = Start(context.WithoutCancel(t.Context()), Options{Progress: os.Stderr})
	}
	if shared.err != nil {
		t.Fatalf("starting the shared lab: %v", shared.err)
	}
	return shared.lab
}

// New starts a lab of the test's own, for tests that break components, and closes it
// at the test's end.
func New(t testing.TB) *Lab {
	t.Helper()
	l, err := Start(t.Context(), Options{Progress: os.Stderr})
	if err != nil {
		t.Fatalf("starting a lab: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	return l
}

// cleanupWithin bounds what a test does after its end.
const cleanupWithin = 30 * time.Second

// Namespace creates a namespace in which pods can be created, named after the test.
// At the test's end it is deleted, its pods without grace; nobody waits for the rest.
func (l *Lab) Namespace(t testing.TB) string {
	t.Helper()
	created, err := l.client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: namespacePrefix(t.Name())}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating a namespace: %v", err)
	}
	if err := l.waitServiceAccount(t.Context(), created.Name, "default"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), cleanupWithin)
		defer cancel()
		if err := l.deleteNamespace(ctx, created.Name); err != nil {
			t.Errorf("deleting namespace %q: %v", created.Name, err)
		}
	})
	return created.Name
}

func (l *Lab) deleteNamespace(ctx context.Context, name string) error {
	err := l.client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	// After the namespace, so that no controller can replace them.
	force := l.client.CoreV1().Pods(name).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{})
	return errors.Join(err, force)
}

// Node adds a node for the time of a test and removes it at the test's end.
func (l *Lab) Node(t testing.TB, spec NodeSpec) *Node {
	t.Helper()
	n, err := l.AddNode(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), cleanupWithin)
		defer cancel()
		if err := n.Remove(ctx); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return n
}

// namespacePrefix makes a namespace's generateName from a test's name.
func namespacePrefix(test string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, test)
	const limit = 50 // 63 for a DNS label, less what the API server appends
	return name[:min(len(name), limit)] + "-"
}
