package security

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/security/stolen"
)

// crowd is how many pods the namespace has whose evictions are measured.
const crowd = 1000

// BenchmarkEviction measures what the policies cost an eviction in a namespace of a
// thousand pods: the agent's, and one of somebody whom they do not concern. The evictions
// are rehearsals, which admission judges like any other and no budget is spent on.
func BenchmarkEviction(b *testing.B) {
	s := newScene(b, lab.Shared(b))
	s.crowd()
	listed, err := s.lab.Client().CoreV1().Pods(s.namespace).List(b.Context(), metav1.ListOptions{LabelSelector: "app=crowd"})
	s.must(err)
	measure := func(name string) {
		for who, client := range map[string]kubernetes.Interface{"agent": s.client(s.bound), "admin": s.lab.Client()} {
			b.Run(name+"/"+who, func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					pod := &listed.Items[i%len(listed.Items)]
					if err := stolen.Evict(b.Context(), client, pod, stolen.ByUID(pod)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	measure("all policies")
	s.unbindEvictions()
	measure("without the node's")
}

// crowd makes the pods, all on the token's own node.
func (s *scene) crowd() {
	s.t.Helper()
	var making errgroup.Group
	making.SetLimit(16)
	for i := range crowd {
		making.Go(func() error {
			_, err := s.lab.Client().CoreV1().Pods(s.namespace).Create(s.t.Context(), &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{
					Name: fmt.Sprintf("crowd-%d", i), Labels: map[string]string{"app": "crowd"},
					Annotations: map[string]string{lab.ReadyAfter: "never"},
				},
				Spec: corev1.PodSpec{NodeName: s.own.Name(), Containers: []corev1.Container{{Name: "c", Image: "none"}}},
			}, metav1.CreateOptions{})
			return err
		})
	}
	s.must(making.Wait())
}

// unbindEvictions takes the policy with parameters out of force and waits until it is.
func (s *scene) unbindEvictions() {
	s.t.Helper()
	name := s.name + "-agent-eviction-node"
	s.must(s.lab.Client().AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Delete(s.t.Context(), name, metav1.DeleteOptions{}))
	far := s.agents()[s.other.Name()]
	err := wait.PollUntilContextTimeout(s.t.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		err := stolen.Evict(ctx, s.client(s.bound), far, stolen.ByUID(far))
		return err == nil || !strings.Contains(err.Error(), name), nil
	})
	s.must(err)
}
