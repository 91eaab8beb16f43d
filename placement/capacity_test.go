package placement

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// nodeOf reads a node from YAML; it is Ready and has room for 10 pods unless it says
// otherwise.
func nodeOf(t *testing.T, name, text string) *corev1.Node {
	t.Helper()
	node := &corev1.Node{}
	if err := yaml.UnmarshalStrict([]byte(text), node); err != nil {
		t.Fatalf("reading node: %v\n%s", err, text)
	}
	node.Name = name
	if node.Status.Conditions == nil {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	}
	if node.Status.Allocatable == nil {
		node.Status.Allocatable = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("10"),
		}
	}
	return node
}

const cpuPod = `
spec:
  containers: [{name: a, image: x, resources: {requests: {cpu: 1500m}}}]
  initContainers: [{name: i, image: x, resources: {requests: {cpu: 1}}}]
`

func TestANodeCountsIfThePodCouldRunThere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		node, pod string
		running   []string
		want      int
	}{
		"a bare node":                          {"{}", "{}", nil, 1},
		"a spot node":                          {"metadata: {labels: {karpenter.sh/capacity-type: spot}}", "{}", nil, 0},
		"a CAST AI fallback":                   {"metadata: {labels: {scheduling.cast.ai/spot: 'true', scheduling.cast.ai/spot-fallback: 'true'}}", "{}", nil, 0},
		"a cordoned node":                      {"spec: {unschedulable: true}", "{}", nil, 0},
		"a node that is not Ready":             {"status: {conditions: [{type: Ready, status: Unknown}]}", "{}", nil, 0},
		"a node that says nothing of itself":   {"status: {conditions: [{type: DiskPressure, status: 'False'}]}", "{}", nil, 0},
		"a tainted node":                       {"spec: {taints: [{key: a, effect: NoSchedule}]}", "{}", nil, 0},
		"a tainted node that is tolerated":     {"spec: {taints: [{key: a, effect: NoSchedule}]}", "spec: {tolerations: [{key: a, operator: Exists}]}", nil, 1},
		"a softly tainted node":                {"spec: {taints: [{key: a, effect: PreferNoSchedule}]}", "{}", nil, 1},
		"a node under an advice":               {"spec: {taints: [{key: ebbtide.dev/interruption, value: Maintenance, effect: PreferNoSchedule}]}", "{}", nil, 0},
		"a node under an advice, tolerated":    {"spec: {taints: [{key: ebbtide.dev/interruption, value: Maintenance, effect: PreferNoSchedule}]}", "spec: {tolerations: [{operator: Exists}]}", nil, 0},
		"a node that the selector wants":       {"metadata: {labels: {zone: a}}", "spec: {nodeSelector: {zone: a}}", nil, 1},
		"a node that the selector rules out":   {"metadata: {labels: {zone: b}}", "spec: {nodeSelector: {zone: a}}", nil, 0},
		"a node that the affinity rules out":   {"metadata: {labels: {zone: b}}", terms("[{matchExpressions: [{key: zone, operator: In, values: [a]}]}]"), nil, 0},
		"an affinity that cannot be read":      {"{}", terms("[{matchExpressions: [{key: zone, operator: Gt, values: [a]}]}]"), nil, 0},
		"room enough":                          {"{}", cpuPod, nil, 1},
		"room enough beside another":           {"{}", cpuPod, []string{"spec: {containers: [{name: a, image: x, resources: {requests: {cpu: 500m}}}]}"}, 1},
		"room taken by another":                {"{}", cpuPod, []string{"spec: {containers: [{name: a, image: x, resources: {requests: {cpu: 501m}}}]}"}, 0},
		"room given back by one that ended":    {"{}", cpuPod, []string{"spec: {containers: [{name: a, image: x, resources: {requests: {cpu: 501m}}}]}\nstatus: {phase: Succeeded}"}, 1},
		"no room for one more pod":             {"status: {allocatable: {cpu: 4, pods: 1}}", "{}", []string{"{}"}, 0},
		"a resource that the node has not":     {"{}", "spec: {containers: [{name: a, image: x, resources: {requests: {example.com/gpu: 1}}}]}", nil, 0},
		"a resource of which none is asked":    {"{}", "spec: {containers: [{name: a, image: x, resources: {requests: {example.com/gpu: 0}}}]}", nil, 1},
		"a node that asks no more than it has": {"status: {allocatable: {cpu: 1500m, pods: 1}}", cpuPod, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var running []*corev1.Pod
			for _, text := range c.running {
				pod := placementtest.Pod(t, text)
				pod.Spec.NodeName = "n1"
				running = append(running, pod)
			}
			states := NodeStates([]*corev1.Node{nodeOf(t, "n1", c.node)}, running)
			if got := NewSnapshot(Rules{}, states, nil).LongLivedNodes(placementtest.Pod(t, c.pod), 2); got != c.want {
				t.Errorf("%d nodes could run it, want %d", got, c.want)
			}
		})
	}
}

func TestTheTaintOfAgentsIsKnownByItsName(t *testing.T) {
	t.Parallel()
	if interruptionTaint != drain.TaintKey {
		t.Errorf("it is taken to be %q, want %q", interruptionTaint, drain.TaintKey)
	}
}

func TestCountingStopsAtEnough(t *testing.T) {
	t.Parallel()
	nodes := []*corev1.Node{nodeOf(t, "a", "{}"), nodeOf(t, "b", "{}"), nodeOf(t, "c", "{}")}
	snapshot := NewSnapshot(Rules{}, NodeStates(nodes, nil), nil)
	if got := snapshot.LongLivedNodes(placementtest.Pod(t, "{}"), 2); got != 2 {
		t.Errorf("counted %d, want 2", got)
	}
}

func TestReckoningLeavesTheNodesAsTheyAre(t *testing.T) {
	t.Parallel()
	node := nodeOf(t, "n1", "{}")
	pod := placementtest.Pod(t, cpuPod)
	pod.Spec.NodeName = "n1"
	before := node.DeepCopy()
	states := NodeStates([]*corev1.Node{node}, []*corev1.Pod{pod})
	if diff := cmp.Diff(before, node); diff != "" {
		t.Errorf("the node changed (-before +after):\n%s", diff)
	}
	if free := states[0].Free[corev1.ResourceCPU]; free.Cmp(resource.MustParse("500m")) != 0 {
		t.Errorf("free is %s of CPU, want 500m", free.String())
	}
}

func TestAPodIsBlockedByOurRequirementsAlone(t *testing.T) {
	t.Parallel()
	policies := casePolicies(t)
	place := func(text string) *corev1.Pod {
		pod := placementtest.Pod(t, text)
		return Decide(pod, Namespace{}, policies, Rules{}, nil).Apply(pod)
	}
	spot := nodeOf(t, "spot", "metadata: {labels: {lifecycle: spot, zone: a}}")
	full := nodeOf(t, "full", "{metadata: {labels: {zone: a}}, status: {allocatable: {pods: 0}}}")
	free := nodeOf(t, "free", "metadata: {labels: {zone: a}}")
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		nodes []*corev1.Node
		want  bool
	}{
		"only a spot node has room":              {place(required), []*corev1.Node{spot, full}, true},
		"within the author's own terms":          {place(required + terms("[{matchExpressions: [{key: zone, operator: In, values: [a]}]}]")), []*corev1.Node{spot, full}, true},
		"a long-lived node has room":             {place(required), []*corev1.Node{spot, full, free}, false},
		"no node has room":                       {place(required), []*corev1.Node{full}, false},
		"the author's own terms keep it off":     {place(required + terms("[{matchExpressions: [{key: zone, operator: In, values: [b]}]}]")), []*corev1.Node{spot}, false},
		"a preference keeps nothing off":         {place(preferred), []*corev1.Node{spot}, false},
		"the author's own selector keeps it off": {placementtest.Pod(t, required+"spec: {nodeSelector: {zone: c}}"), []*corev1.Node{spot}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := NewSnapshot(Rules{}, NodeStates(c.nodes, nil), nil).Blocked(c.pod); got != c.want {
				t.Errorf("blocked is %t, want %t", got, c.want)
			}
		})
	}
}

func TestAPodOfAControllerThatWaitedIsKnown(t *testing.T) {
	t.Parallel()
	snapshot := NewSnapshot(Rules{}, nil, []types.UID{"u1"})
	if !snapshot.LatelyPending(placementtest.Pod(t, owned("ReplicaSet", "x", "a: b"))) {
		t.Error("the controller's next pod is not known")
	}
	if snapshot.LatelyPending(placementtest.Pod(t, "{}")) {
		t.Error("a pod without a controller is taken for one")
	}
}

func TestSoftTaintsAreThoseThatSayWhatANodeIsFor(t *testing.T) {
	t.Parallel()
	soft := func(key string) string {
		return "spec: {taints: [{key: " + key + ", value: v, effect: PreferNoSchedule}, {key: hard, effect: NoSchedule}]}"
	}
	nodes := []*corev1.Node{
		nodeOf(t, "a", soft("rare")), nodeOf(t, "b", soft("common")), nodeOf(t, "c", soft("common")),
		nodeOf(t, "d", soft("ebbtide.dev/interruption")), nodeOf(t, "e", soft("node.kubernetes.io/odd")),
		nodeOf(t, "f", "metadata: {labels: {lifecycle: spot}}\n"+soft("on-spot")),
	}
	for i := range 9 {
		nodes = append(nodes, nodeOf(t, "x", soft("z"+string(rune('0'+i)))))
	}
	var got []string
	for _, taint := range SoftTaints(Rules{}, nodes) {
		got = append(got, taint.Key)
	}
	if diff := cmp.Diff([]string{"common", "rare", "z0", "z1", "z2", "z3", "z4", "z5"}, got); diff != "" {
		t.Errorf("soft taints (-want +got):\n%s", diff)
	}
}

// An admission policy is rendered by them, and tried out anew when it differs.
func TestSoftTaintsStandInTheSameOrderWhileNodesComeAndGo(t *testing.T) {
	t.Parallel()
	pool := func(key string) *corev1.Node {
		return nodeOf(t, key, "spec: {taints: [{key: "+key+", effect: PreferNoSchedule}]}")
	}
	before := SoftTaints(Rules{}, []*corev1.Node{pool("edge"), pool("edge"), pool("system")})
	after := SoftTaints(Rules{}, []*corev1.Node{pool("edge"), pool("system"), pool("system")})
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("soft taints (-before +after):\n%s", diff)
	}
}
