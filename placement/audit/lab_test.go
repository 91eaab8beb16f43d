package audit

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/kubectl/pkg/util/podutils"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// scene is a part of the shared lab with nodes, a policy and auditors of its own. No
// webhook serves it: where replacements may go is told by cordons.
type scene struct {
	*lab.Lab
	name      string // of the policy, and the value of the nodes' label "scene"
	namespace string
	dynamic   dynamic.Interface
	ahead     time.Duration // by how much the auditors' clock is fast
}

func newScene(t *testing.T, name, spec string) *scene {
	t.Helper()
	l := lab.Shared(t)
	placementtest.InstallCRD(t, l)
	client, err := dynamic.NewForConfig(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{Lab: l, name: name, namespace: l.Namespace(t), dynamic: client}
	manifest := fmt.Sprintf("{apiVersion: placement.ebbtide.dev/v1alpha1, kind: PlacementPolicy, metadata: {name: %s}, spec: %s}", name, spec)
	if err := l.Apply(t.Context(), "", manifest); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := client.Resource(v1alpha1.PlacementPolicies).Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	for i := range 3 {
		s.node(t, fmt.Sprintf("spot-%d", i+1), lab.NodeSpec{Labels: map[string]string{"karpenter.sh/capacity-type": "spot"}})
	}
	return s
}

func (s *scene) node(t *testing.T, name string, spec lab.NodeSpec) {
	t.Helper()
	labels := map[string]string{"scene": s.name}
	maps.Copy(labels, spec.Labels)
	spec.Name, spec.Labels = s.name+"-"+name, labels
	s.Node(t, spec)
}

// addLongLived adds the two long-lived nodes.
func (s *scene) addLongLived(t *testing.T, allocatable corev1.ResourceList) {
	t.Helper()
	for i := range 2 {
		s.node(t, fmt.Sprintf("steady-%d", i+1), lab.NodeSpec{
			Labels: map[string]string{"karpenter.sh/capacity-type": "on-demand"}, Allocatable: allocatable,
		})
	}
}

// cordonSpot keeps new pods off the spot nodes, as the webhook would.
func (s *scene) cordonSpot(t *testing.T) {
	t.Helper()
	for i := range 3 {
		_, err := s.Client().CoreV1().Nodes().Patch(t.Context(), fmt.Sprintf("%s-spot-%d", s.name, i+1),
			types.StrategicMergePatchType, []byte(`{"spec": {"unschedulable": true}}`), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// deploy makes a Deployment called dns of one replica; more is added to its pods' spec,
// annotations to their metadata.
func (s *scene) deploy(t *testing.T, annotations, more string) {
	t.Helper()
	manifest := fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: dns}, spec: {replicas: 1,
selector: {matchLabels: {app: dns}}, template: {metadata: {labels: {app: dns}, annotations: {%s}}, spec: {nodeSelector: {scene: %s},
terminationGracePeriodSeconds: 1, containers: [{name: dns, image: "example.com/dns:1"}]%s}}}}`, annotations, s.name, more)
	if err := s.Apply(t.Context(), s.namespace, manifest); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) budget(t *testing.T) {
	t.Helper()
	manifest := `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: dns}, spec: {minAvailable: 1, selector: {matchLabels: {app: dns}}}}`
	if err := s.Apply(t.Context(), s.namespace, manifest); err != nil {
		t.Fatal(err)
	}
}

// pod returns the one pod when it is as it should be.
func (s *scene) pod(t *testing.T, what string, is func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	placementtest.Await(t, what, func(ctx context.Context) error {
		pods, err := s.Client().CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=dns"})
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 || !is(&pods.Items[0]) {
			return fmt.Errorf("the pods are %s", placementtest.JSON(t, pods.Items))
		}
		found = &pods.Items[0]
		return nil
	})
	return found
}

// policy waits until the policy says what it should.
func (s *scene) policy(t *testing.T, what string, is func(v1alpha1.PlacementPolicyStatus) bool) {
	t.Helper()
	placementtest.Await(t, what, func(ctx context.Context) error {
		object, err := s.dynamic.Resource(v1alpha1.PlacementPolicies).Get(ctx, s.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		var read v1alpha1.PlacementPolicy
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &read); err != nil {
			return err
		}
		if !is(read.Status) {
			return fmt.Errorf("it says %s", placementtest.JSON(t, read.Status))
		}
		return nil
	})
}

func unsafeWith(pods int32) func(v1alpha1.PlacementPolicyStatus) bool {
	return func(s v1alpha1.PlacementPolicyStatus) bool {
		return s.OnSpot != nil && *s.OnSpot == pods && meta.IsStatusConditionFalse(s.Conditions, v1alpha1.ConditionSafe)
	}
}

func safeStatus(s v1alpha1.PlacementPolicyStatus) bool {
	return s.OnSpot != nil && *s.OnSpot == 0 && meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionSafe)
}

// own shows of a cluster the scene's policy and pods only: the lab is shared.
type own struct {
	Cluster
	policy, namespace string
}

func (o own) View(ctx context.Context) (View, error) {
	view, err := o.Cluster.View(ctx)
	view.Policies = slices.DeleteFunc(slices.Clone(view.Policies), func(p v1alpha1.PlacementPolicy) bool { return p.Name != o.policy })
	view.Pods = slices.DeleteFunc(view.Pods, func(p *corev1.Pod) bool { return p.Namespace != o.namespace })
	return view, err
}

const rescuesTotal = "ebbtide_placement_rescues_total"

// audit runs an auditor until the test's end.
func (s *scene) audit(t *testing.T, identity string) (*Runner, gathered) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	informers, err := cache.New(s.Config(), cache.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: s.Client().EventsV1()})
	registry := prometheus.NewRegistry()
	cluster := own{Cached(informers), s.name, s.namespace}
	mover := &Mover{Config: s.Config(), Client: s.Client(), Cluster: cluster}
	runner := &Runner{
		Cluster: cluster, Move: mover.Move, Client: s.Client(), Dynamic: s.dynamic,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: s.namespace, Name: "placement"},
			Client:     s.Client().CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		Events: broadcaster.NewRecorder(scheme, "ebbtide.dev/test"), Metrics: NewMetrics(registry),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Period: 100 * time.Millisecond,
		Now: func() time.Time { return time.Now().Add(s.ahead) },
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		t.Error(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := informers.Start(ctx); err != nil {
			t.Errorf("running the cache: %v", err)
		}
	})
	running.Go(func() {
		if err := runner.Run(ctx); err != nil {
			t.Errorf("running the auditor: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		broadcaster.Shutdown()
	})
	return runner, gathered{t, registry}
}

func serves(pod *corev1.Pod) bool { return podutils.IsPodReady(pod) && pod.DeletionTimestamp == nil }

func isOn(kind string) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool { return serves(pod) && strings.Contains(pod.Spec.NodeName, "-"+kind+"-") }
}

const (
	matchDNS   = "match: {podSelector: {matchLabels: {app: dns}}}"
	rescueDNS  = "{rescue: true, " + matchDNS + "}"
	neverHands = "ebbtide.dev/hand-over: Never"
)

func TestAPodOnSpotIsReportedAndLeftThereUnlessThePolicySaysRescue(t *testing.T) {
	t.Parallel()
	s := newScene(t, "reported", "{"+matchDNS+"}")
	s.deploy(t, "", "")
	before := s.pod(t, "the pod on spot", isOn("spot"))
	s.addLongLived(t, nil)
	s.cordonSpot(t)
	_, metrics := s.audit(t, "a")
	s.policy(t, "the policy to say that it is not safe", unsafeWith(1))
	for where, want := range map[string]float64{"LongLived": 0, "OnSpot": 1, "Pending": 0} {
		if got := metrics.value("ebbtide_placement_pods", "reported", where); got != want {
			t.Errorf("%.0f pods are counted as %s, want %.0f", got, where, want)
		}
	}
	if after := s.pod(t, "the pod", serves); after.UID != before.UID {
		t.Error("it was moved")
	}
}

func TestAPodThatItsBudgetHoldsIsHandedOverToALongLivedNode(t *testing.T) {
	t.Parallel()
	s := newScene(t, "handed", rescueDNS)
	s.deploy(t, "", "")
	s.budget(t)
	s.pod(t, "the pod on spot", isOn("spot"))
	s.cordonSpot(t)
	_, metrics := s.audit(t, "a")
	s.policy(t, "the policy to say that it is not safe", unsafeWith(1))
	s.addLongLived(t, nil)
	s.pod(t, "a pod on a long-lived node alone", isOn("steady"))
	s.policy(t, "the policy to say that it is safe", safeStatus)
	metrics.awaitRescue(HandedOver)
}

func TestAPodThatMayNotBeHandedOverIsEvicted(t *testing.T) {
	t.Parallel()
	s := newScene(t, "evicted", rescueDNS)
	s.deploy(t, neverHands, "")
	s.pod(t, "the pod on spot", isOn("spot"))
	s.cordonSpot(t)
	s.addLongLived(t, nil)
	_, metrics := s.audit(t, "a")
	s.pod(t, "a pod on a long-lived node alone", isOn("steady"))
	metrics.awaitRescue(Evicted)
}

func TestAPodIsNotRescuedPastItsBudget(t *testing.T) {
	t.Parallel()
	s := newScene(t, "held", rescueDNS)
	s.deploy(t, neverHands, "")
	s.budget(t)
	before := s.pod(t, "the pod on spot", isOn("spot"))
	s.cordonSpot(t)
	s.addLongLived(t, nil)
	_, metrics := s.audit(t, "a")
	metrics.awaitRescue(BudgetClosed)
	if after := s.pod(t, "the pod", serves); after.UID != before.UID {
		t.Error("it was moved")
	}
}

func TestAPodIsNotRescuedWhileNoLongLivedNodeHasRoom(t *testing.T) {
	t.Parallel()
	s := newScene(t, "full", rescueDNS)
	s.deploy(t, "", "")
	before := s.pod(t, "the pod on spot", isOn("spot"))
	s.addLongLived(t, corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")})
	s.cordonSpot(t)
	_, metrics := s.audit(t, "a")
	s.policy(t, "the policy to say that it is not safe", unsafeWith(1))
	// A rescue is begun with the status that reports the pod, or not at all.
	for _, end := range moves {
		if metrics.value(rescuesTotal, string(end)) > 0 {
			t.Errorf("a rescue ended with %s", end)
		}
	}
	if after := s.pod(t, "the pod", serves); after.UID != before.UID || len(after.Labels) != len(before.Labels) {
		t.Error("it was touched")
	}
}
