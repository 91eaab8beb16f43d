package security

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/gcp/gcptest"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/security/stolen"
)

// agent starts the real agent for the scene's own node.
func (s *scene) agent(imds *awstest.Server, token string) *agentrun.Agent {
	s.t.Helper()
	return agentrun.New(s.t, agentrun.Options{
		Binary: agentrun.Binary(s.t, agentrun.Race), Node: s.own.Name(), Kubeconfig: s.kubeconfig(token),
		Endpoint: imds.URL(), Dir: s.t.TempDir(),
	})
}

// workload is a Deployment or StatefulSet of one pod behind a closed budget, and a node
// selector that the scene's own node fulfils. ready is for a replacement as well.
func (s *scene) workload(kind, name, more string, ready time.Duration) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: %[1]s
metadata: {name: %[2]s}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[2]s}}%[3]s
  template:
    metadata: {labels: {app: %[2]s}, annotations: {%[4]s: %[5]s, ebbtide.dev/deadline: ""}}
    spec: {terminationGracePeriodSeconds: 5, nodeSelector: {lab.ebbtide.dev/scene: %[6]s}, containers: [{name: c, image: none}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: %[2]s}
spec: {minAvailable: 1, selector: {matchLabels: {app: %[2]s}}}
`, kind, name, more, lab.ReadyAfter, ready, s.namespace)
}

// onOwnNode applies workloads while no pod can come to the other node.
func (s *scene) onOwnNode(ready int, manifests ...string) {
	s.t.Helper()
	s.fence(true)
	s.must(s.lab.Apply(s.t.Context(), s.namespace, strings.Join(manifests, "\n---\n")))
	s.must(s.lab.WaitPods(s.within(time.Minute), s.namespace, "app", lab.AllReady(ready)))
	s.fence(false)
}

func (s *scene) fence(closed bool) {
	s.t.Helper()
	_, err := s.lab.Client().CoreV1().Nodes().Patch(s.t.Context(), s.other.Name(), types.MergePatchType,
		fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, closed), metav1.PatchOptions{})
	s.must(err)
}

// A drain with all that it can be: an eviction, a hand-over, a deletion past a budget that
// cannot open, deadlines told to pods, and a node that leaves its load balancers.
func TestADrainIsRefusedNothingWithATokenOfItsOwnNode(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	free, _, _ := strings.Cut(s.workload("Deployment", "free", "", time.Second), "---") // without its budget
	s.onOwnNode(3, free,
		s.workload("Deployment", "single", "", time.Second),
		s.workload("StatefulSet", "db", "\n  serviceName: db", time.Second),
		"apiVersion: v1\nkind: Service\nmetadata: {name: edge}\n"+
			"spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: free}, ports: [{port: 80}]}\n")
	imds := awstest.New(t)
	a := s.agent(imds, s.bound)
	s.must(a.Ready(s.within(30 * time.Second)))
	deadline := time.Now().Add(30 * time.Second)
	s.own.DieAt(deadline)
	imds.Interrupt("terminate", deadline)

	record, err := a.WaitRecord(s.within(40*time.Second), func(r agentrun.Record) bool { return strings.HasPrefix(r.Message, "Drained node") })
	s.must(err)
	var report drain.Report
	s.must(record.Decode("report", &report))
	paths := map[string]drain.Path{}
	for _, pod := range report.Pods {
		app, _, _ := strings.Cut(pod.Name, "-")
		paths[app] = pod.Path
	}
	want := map[string]drain.Path{"free": drain.Evicted, "single": drain.HandedOver, "db": drain.Forced}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if got := s.refusals(); len(got) > 0 {
		t.Errorf("the agent was refused: %+v", got)
	}
	node, err := s.lab.Client().CoreV1().Nodes().Get(t.Context(), s.own.Name(), metav1.GetOptions{})
	s.must(err)
	if _, excluded := node.Labels[drain.ExcludeLabel]; !excluded {
		t.Errorf("the node did not leave its load balancers; labels: %v", node.Labels)
	}
}

// The machine comes back while a pod is handed over: the next agent finds the state of
// another boot, and puts node and pod back.
func TestWhatAnotherBootHasLeftIsUndoneWithATokenOfItsOwnNode(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.onOwnNode(1, s.workload("Deployment", "single", "", 8*time.Second))
	before := s.only("app=single")
	imds := awstest.New(t)
	first := s.agent(imds, s.bound)
	s.must(first.Ready(s.within(30 * time.Second)))
	imds.Interrupt("terminate", time.Now().Add(2*time.Minute))
	_, err := first.WaitLog(s.within(20*time.Second), "Handed pod over")
	s.must(err)
	s.must(first.Kill())
	imds.TakeBack()
	s.rebooted()
	s.agent(imds, s.bound)

	s.must(s.lab.WaitNode(s.within(30*time.Second), s.own.Name(), func(node *corev1.Node) bool {
		return node.Annotations[drain.StateAnnotation] == "" && !node.Spec.Unschedulable
	}))
	var after corev1.Pod
	s.must(s.lab.WaitPods(s.within(30*time.Second), s.namespace, "app=single", func(pods []corev1.Pod) bool {
		if len(pods) == 1 {
			after = pods[0]
		}
		return len(pods) == 1 && after.Annotations[corev1.PodDeletionCost] == ""
	}))
	if after.UID != before.UID {
		t.Fatalf("the ReplicaSet kept pod %q, want the one that was there before, %q", after.Name, before.Name)
	}
	if diff := cmp.Diff(before.Labels, after.Labels); diff != "" {
		t.Errorf("labels (-before +after):\n%s", diff)
	}
	if got, want := metav1.GetControllerOf(&after).UID, metav1.GetControllerOf(before).UID; got != want {
		t.Errorf("the pod belongs to %q, want its ReplicaSet %q", got, want)
	}
	if got := s.refusals(); len(got) > 0 {
		t.Errorf("the agents were refused: %+v", got)
	}
}

// One critical pod moves, and another's replacement finds no place until the advice is
// over: that is all that an agent does on one, and all that it takes back.
func TestAnAdviceIsRefusedNothingWithATokenOfItsOwnNode(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	critical := strings.NewReplacer("ebbtide.dev/deadline", `ebbtide.dev/critical: "true", ebbtide.dev/deadline`)
	alone := strings.NewReplacer("nodeSelector: {", fmt.Sprintf(`affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution:
      [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: stuck}}}]}}, nodeSelector: {kubernetes.io/hostname: %s, `, s.own.Name()))
	s.onOwnNode(3, s.workload("Deployment", "idle", "", time.Second),
		critical.Replace(s.workload("Deployment", "moves", "", time.Second)),
		critical.Replace(alone.Replace(s.workload("Deployment", "stuck", "", time.Second))))
	idle, stuck := s.only("app=idle"), s.only("app=stuck")
	cloud := gcptest.New(t)
	a := agentrun.New(t, agentrun.Options{
		Binary: agentrun.Binary(t, agentrun.Race), Node: s.own.Name(), Kubeconfig: s.kubeconfig(s.bound), Provider: "gcp",
		Endpoint: cloud.URL(), Dir: t.TempDir(), Config: map[string]any{"respond": map[string]any{"maintenance": "HandOver", "ttl": "1m"}},
	})
	s.must(a.Ready(s.within(30 * time.Second)))
	cloud.Maintain(0, "TERMINATE")
	s.must(s.lab.WaitNode(s.within(30*time.Second), s.own.Name(), func(node *corev1.Node) bool {
		return !node.Spec.Unschedulable && slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
			return taint.Key == drain.TaintKey && taint.Effect == corev1.TaintEffectPreferNoSchedule
		})
	}))
	record, err := a.WaitRecord(s.within(90*time.Second), func(r agentrun.Record) bool { return r.Message == "Followed advice" })
	s.must(err)
	var report drain.Report
	s.must(record.Decode("report", &report))
	paths := map[string]drain.Path{}
	for _, pod := range report.Pods {
		app, _, _ := strings.Cut(pod.Name, "-")
		paths[app] = pod.Path
	}
	if diff := cmp.Diff(map[string]drain.Path{"moves": drain.HandedOver, "stuck": drain.Spared}, paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}

	s.must(s.lab.WaitNode(s.within(time.Minute), s.own.Name(), func(node *corev1.Node) bool {
		return node.Annotations[drain.StateAnnotation] == "" && slices.Equal(node.Spec.Taints, []corev1.Taint{stolen.Keep})
	}))
	if after := s.only("app=idle"); after.UID != idle.UID {
		t.Errorf("the pod that nobody called critical was moved: %q is there now", after.Name)
	}
	after := s.only("app=stuck")
	if owner := metav1.GetControllerOf(after); after.UID != stuck.UID || owner == nil || owner.Kind != "ReplicaSet" || len(after.Annotations[corev1.PodDeletionCost]) > 0 {
		t.Errorf("the pod that stayed is %+v", after.ObjectMeta)
	}
	if got := s.refusals(); len(got) > 0 {
		t.Errorf("the agent was refused: %+v", got)
	}
}

// rebooted makes the state on the own node one of another boot.
func (s *scene) rebooted() {
	s.t.Helper()
	nodes := s.lab.Client().CoreV1().Nodes()
	node, err := nodes.Get(s.t.Context(), s.own.Name(), metav1.GetOptions{})
	s.must(err)
	state, err := drain.ReadState(node)
	s.must(err)
	if state == nil {
		s.t.Fatal("the agent has left no state on its node")
	}
	state.BootID = "another-boot"
	text, err := json.Marshal(state)
	s.must(err)
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{drain.StateAnnotation: string(text)}}})
	s.must(err)
	_, err = nodes.Patch(s.t.Context(), s.own.Name(), types.MergePatchType, patch, metav1.PatchOptions{})
	s.must(err)
}

func TestAnAgentWithATokenOfNoNodeSaysThatItCouldNotCordon(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	a := s.agent(awstest.New(t), s.unbound)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := a.WaitRecord(ctx, func(r agentrun.Record) bool {
		return r.Text("check") == "cordon-rehearsal" && strings.Contains(r.Text("err"), "the token is bound to no node")
	})
	s.must(err)
}
