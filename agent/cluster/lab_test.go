package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// scene is a Node of a real API server and a Source that watches it with its own rights.
type scene struct {
	t      *testing.T
	lab    *lab.Lab
	node   *corev1.Node
	user   string
	source *Source
}

// newScene creates a Node that no kubelet stands behind, so that its status is ours to
// write.
func newScene(t *testing.T, l *lab.Lab) *scene {
	t.Helper()
	name := l.Namespace(t)
	s := &scene{t: t, lab: l, user: lab.ServiceAccountUser(name, "agent")}
	node, err := l.Client().CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{"karpenter.sh/termination"}},
	}, metav1.CreateOptions{})
	s.must(err)
	s.node = node
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer stop()
		// The finalizer's owner is this test.
		if err := s.patch(ctx, []byte(`{"metadata":{"finalizers":null}}`)); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
		err := l.Client().CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	kubeconfig, err := l.ServiceAccount(t.Context(), name, "agent", PolicyRules())
	s.must(err)
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	s.must(err)
	s.source, err = New(config, name)
	s.must(err)
	t.Cleanup(s.source.Close)
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) patch(ctx context.Context, patch []byte, subresources ...string) error {
	_, err := s.lab.Client().CoreV1().Nodes().Patch(ctx, s.node.Name, types.MergePatchType, patch, metav1.PatchOptions{}, subresources...)
	return err
}

// taint gives the Node these taints and no others.
func (s *scene) taint(taints ...corev1.Taint) {
	s.t.Helper()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"taints": taints}})
	s.must(err)
	s.must(s.patch(s.t.Context(), patch))
}

// sees polls until the sightings are as want says, and returns them.
func (s *scene) sees(what string, want func([]agent.Sighting) bool) []agent.Sighting {
	s.t.Helper()
	var got []agent.Sighting
	var err error
	for giveUp := time.Now().Add(30 * time.Second); time.Now().Before(giveUp); {
		if got, err = poll(s.t.Context(), s.source); err == nil && want(got) {
			return got
		}
	}
	s.t.Fatalf("it sees %+v and %v, want %s", got, err, what)
	return nil
}

func nothing(got []agent.Sighting) bool { return len(got) == 0 }

func state(state agent.State) func([]agent.Sighting) bool {
	return func(got []agent.Sighting) bool { return len(got) > 0 && got[0].State == state }
}

func TestARealNodeIsSeenThroughItsEnd(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.sees("nothing", nothing)

	karpenter := corev1.Taint{Key: karpenterTaint, Effect: corev1.TaintEffectNoSchedule}
	s.taint(karpenter)
	first := s.sees("Karpenter's taint", state(agent.Scheduled))
	s.taint()
	s.sees("that Karpenter thought better of it", state(agent.Cancelled))
	s.sees("nothing", nothing)

	decided := time.Now().Add(-5 * time.Second).Truncate(time.Second).UTC()
	s.taint(corev1.Taint{Key: autoscalerTaint, Value: strconv.FormatInt(decided.Unix(), 10), Effect: corev1.TaintEffectNoSchedule})
	got := s.sees("Cluster Autoscaler's taint", func(got []agent.Sighting) bool { return len(got) == 1 && got[0].Emitted.Equal(decided) })
	if off := time.Since(got[0].ServerTime); off < -time.Second || off > 2*time.Second {
		t.Errorf("the server's clock is told as %v, which is off by %v", got[0].ServerTime, off)
	}
	s.taint(karpenter)
	s.sees("Karpenter's taint", state(agent.Scheduled))

	s.must(s.lab.Client().CoreV1().Nodes().Delete(t.Context(), s.node.Name, metav1.DeleteOptions{}))
	last := s.sees("a deletion that waits", state(agent.Started))
	if first[0].ID != last[0].ID || !strings.HasSuffix(last[0].ID, string(s.node.UID)) {
		t.Errorf("the ids are %q and %q, want one of the Node's UID", first[0].ID, last[0].ID)
	}
	condition, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: kubeletReason, Message: kubeletMessage,
		LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
	}}}})
	s.must(err)
	s.must(s.patch(t.Context(), condition, "status"))
	s.sees("the kubelet's shutdown", func(got []agent.Sighting) bool { return len(got) == 2 && got[1].Kind == agent.NodeShutdown })

	s.must(s.patch(t.Context(), []byte(`{"metadata":{"finalizers":null}}`)))
	for {
		got, err := poll(t.Context(), s.source)
		if errors.Is(err, errNoNode) {
			break
		}
		if err != nil || len(got) == 0 {
			t.Fatalf("of a Node that is deleted it says %+v and %v", got, err)
		}
	}
	s.askedLittle(20)
}

// askedLittle wants that the API server was asked for nothing else and no more often.
func (s *scene) askedLittle(most int) {
	s.t.Helper()
	requests, err := s.lab.Requests(s.t.Context(), s.user)
	s.must(err)
	if len(requests) > most {
		s.t.Errorf("it sent %d requests, want at most %d", len(requests), most)
	}
	for _, r := range requests {
		if r.Resource != "nodes" || (r.Verb != "list" && r.Verb != "watch") || r.Code != 200 {
			s.t.Errorf("it sent %+v", r)
		}
	}
}

func TestARealChangeIsSightedAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.sees("nothing", nothing)
	const runs = 40
	took := make([]time.Duration, 0, runs)
	for i := range runs {
		taints := []corev1.Taint{{Key: karpenterTaint, Effect: corev1.TaintEffectNoSchedule}}
		if i%2 == 1 {
			taints = nil
		}
		sighted := make(chan time.Time, 1)
		go func() {
			got, err := poll(t.Context(), s.source)
			if err == nil && len(got) == 1 && (got[0].State == agent.Scheduled) == (len(taints) > 0) {
				sighted <- time.Now()
			}
			close(sighted)
		}()
		began := time.Now()
		s.taint(taints...)
		at, was := <-sighted
		if !was {
			t.Fatalf("change %d is not in the next sightings", i)
		}
		took = append(took, at.Sub(began))
	}
	slices.Sort(took)
	p50, p95 := took[runs/2], took[runs*95/100]
	t.Logf("from the begin of the change's request to the sighting: p50 %v, p95 %v, longest %v", p50, p95, took[runs-1])
	if p50 > 100*time.Millisecond {
		t.Errorf("half of all changes take longer than %v to be sighted", p50)
	}
	s.askedLittle(2)
}

func TestASourceWithoutRightsSaysSo(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	namespace := l.Namespace(t)
	kubeconfig, err := l.ServiceAccount(t.Context(), namespace, "agent", nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(config, own)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	want := `watching node "node-1": nodes "node-1" is forbidden: User "` + lab.ServiceAccountUser(namespace, "agent") +
		`" cannot list resource "nodes" in API group "" at the cluster scope`
	_, err = poll(t.Context(), s)
	if err == nil {
		t.Fatal("it sees what it may not")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestASourceOutlivesItsAPIServer(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	s := newScene(t, l)
	s.sees("nothing", nothing)
	s.must(l.Kill(lab.APIServer))
	if got, err := poll(t.Context(), s.source); err == nil {
		t.Fatalf("without an API server it says %+v", got)
	}
	s.must(l.Restart(t.Context(), lab.APIServer))
	s.taint(corev1.Taint{Key: karpenterTaint, Effect: corev1.TaintEffectNoSchedule})
	began := time.Now()
	s.sees("Karpenter's taint", state(agent.Scheduled))
	t.Logf("sighted %v after the API server was back", time.Since(began))
	if took := time.Since(began); took > longestRest+longestRest/spreads+brief {
		t.Errorf("it takes %v after the API server is back", took)
	}
}
