package cluster

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
)

var (
	noon    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	byCloud = cmpopts.IgnoreFields(agent.Sighting{}, "Raw", "ServerTime")
)

// tainted puts a taint on a Node.
func tainted(key, value string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: effect})
	}
}

// untainted takes all taints off.
func untainted(n *corev1.Node) { n.Spec.Taints = nil }

// deleted is a Node whose deletion waits for a finalizer.
func deleted(n *corev1.Node) { n.DeletionTimestamp = &metav1.Time{Time: noon} }

// ends says when Karpenter will end the machine.
func ends(value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Annotations = map[string]string{karpenterEnd: value} }
}

// ready sets the condition Ready.
func ready(status corev1.ConditionStatus, reason, message string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		for i := range n.Status.Conditions {
			if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady {
				c.Status, c.Reason, c.Message = status, reason, message
				c.LastTransitionTime = metav1.Time{Time: noon}
			}
		}
	}
}

var (
	byKarpenter  = tainted(karpenterTaint, "", corev1.TaintEffectNoSchedule)
	byAutoscaler = tainted(autoscalerTaint, "1795435200", corev1.TaintEffectNoSchedule)
	shuttingDown = ready(corev1.ConditionFalse, kubeletReason, kubeletMessage)
)

// taken is the sighting of a Node that is to be taken away.
func taken(but ...func(*agent.Sighting)) agent.Sighting {
	s := agent.Sighting{
		ID: "kubernetes-disruption-uid-1", Kind: agent.ClusterDisruption, Action: agent.Terminate,
		State: agent.Scheduled, Nominal: time.Hour,
	}
	for _, do := range but {
		do(&s)
	}
	return s
}

func started(s *agent.Sighting) { s.State, s.Emitted = agent.Started, noon }

func scaledIn(s *agent.Sighting) { s.Emitted, s.Nominal = noon, 10*time.Minute }

func endsAt(at time.Time) func(*agent.Sighting) {
	return func(s *agent.Sighting) { s.At, s.AtKind, s.Nominal = at, agent.Exact, longestGrace }
}

// down is the sighting of a kubelet that shuts down.
var down = agent.Sighting{
	ID: "kubernetes-shutdown-uid-1", Kind: agent.NodeShutdown, Action: agent.Stop,
	State: agent.Started, Nominal: 2 * time.Minute,
}

func TestWhatANodeSaysIsReadAsItsAuthorsMeanIt(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		changes []func(*corev1.Node)
		want    []agent.Sighting
	}{
		"nothing on an ordinary day": {},
		"Karpenter's taint may be taken back": {
			[]func(*corev1.Node){byKarpenter}, []agent.Sighting{taken()},
		},
		"a deletion is final": {
			[]func(*corev1.Node){deleted}, []agent.Sighting{taken(started)},
		},
		"the deletion goes on with the taint's notice": {
			[]func(*corev1.Node){byKarpenter, deleted}, []agent.Sighting{taken(started)},
		},
		"Karpenter's end is exact": {
			[]func(*corev1.Node){byKarpenter, deleted, ends("2026-11-25T12:00:00Z")},
			[]agent.Sighting{taken(started, endsAt(noon.Add(48*time.Hour)))},
		},
		"Karpenter's end in another time zone is the same moment": {
			[]func(*corev1.Node){deleted, ends("2026-11-25T13:00:00+01:00")},
			[]agent.Sighting{taken(started, endsAt(noon.Add(48*time.Hour)))},
		},
		"an end that cannot be read makes a notice without a moment": {
			[]func(*corev1.Node){byKarpenter, ends("tomorrow")}, []agent.Sighting{taken()},
		},
		"an end alone is nothing": {
			[]func(*corev1.Node){ends("2026-11-25T12:00:00Z")}, nil,
		},
		"Cluster Autoscaler says when it decided": {
			[]func(*corev1.Node){byAutoscaler}, []agent.Sighting{taken(scaledIn)},
		},
		"a moment of Cluster Autoscaler that cannot be read is none": {
			[]func(*corev1.Node){tainted(autoscalerTaint, "soon", corev1.TaintEffectNoSchedule)},
			[]agent.Sighting{taken(scaledIn, func(s *agent.Sighting) { s.Emitted = time.Time{} })},
		},
		"Cluster Autoscaler's moment stands when the Node is deleted": {
			[]func(*corev1.Node){byAutoscaler, deleted, func(n *corev1.Node) { n.DeletionTimestamp.Time = noon.Add(time.Minute) }},
			[]agent.Sighting{taken(scaledIn, func(s *agent.Sighting) { s.State = agent.Started })},
		},
		"a node that Cluster Autoscaler may want to delete is left alone": {
			[]func(*corev1.Node){tainted("DeletionCandidateOfClusterAutoscaler", "1795435200", corev1.TaintEffectPreferNoSchedule)}, nil,
		},
		"GKE announces the machine's end": {
			[]func(*corev1.Node){tainted(gkeTaint, "", corev1.TaintEffectNoSchedule)}, []agent.Sighting{taken()},
		},
		"two who take the Node away are one notice, of the shorter time": {
			[]func(*corev1.Node){byAutoscaler, tainted(gkeTaint, "", corev1.TaintEffectNoSchedule)},
			[]agent.Sighting{taken(scaledIn)},
		},
		"a taint of the same name and another effect is somebody else's": {
			[]func(*corev1.Node){tainted(karpenterTaint, "", corev1.TaintEffectPreferNoSchedule)}, nil,
		},
		"a machine that was switched off reads it when it is back": {
			[]func(*corev1.Node){tainted("node.cloudprovider.kubernetes.io/shutdown", "", corev1.TaintEffectNoSchedule)}, nil,
		},
		"what Ebbtide writes is nothing": {
			[]func(*corev1.Node){tainted(drain.TaintKey, "SpotInterruption", corev1.TaintEffectNoSchedule), func(n *corev1.Node) {
				n.Spec.Unschedulable = true
				n.Annotations = map[string]string{drain.StateAnnotation: "{}"}
			}}, nil,
		},
		"a kubelet shuts down": {
			[]func(*corev1.Node){shuttingDown}, []agent.Sighting{down},
		},
		"a kubelet shuts down and has other worries": {
			[]func(*corev1.Node){ready(corev1.ConditionFalse, kubeletReason,
				"[container runtime is down, node is shutting down]. WARNING: CPU hardcapping unsupported")},
			[]agent.Sighting{down},
		},
		"a kubelet is not ready for another reason": {
			[]func(*corev1.Node){ready(corev1.ConditionFalse, kubeletReason, "container runtime is down")}, nil,
		},
		"a kubelet that is not heard of any more says nothing": {
			[]func(*corev1.Node){ready(corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status.")}, nil,
		},
		"another condition has the kubelet's words": {
			[]func(*corev1.Node){func(n *corev1.Node) {
				n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
					Type: "Maintenance", Status: corev1.ConditionFalse, Reason: kubeletReason, Message: kubeletMessage,
				})
			}}, nil,
		},
		"a Node that is taken away shuts down in the end": {
			[]func(*corev1.Node){byKarpenter, deleted, shuttingDown}, []agent.Sighting{taken(started), down},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := calm()
			for _, change := range c.changes {
				change(node)
			}
			got := read(node)
			if diff := cmp.Diff(c.want, got, byCloud); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(got, read(node.DeepCopy())); diff != "" {
				t.Errorf("read again (-first +again):\n%s", diff)
			}
			for _, s := range got {
				if !json.Valid([]byte(s.Raw)) || len(s.Raw) > agent.MaxRaw {
					t.Errorf("what was seen is kept as %q", s.Raw)
				}
			}
		})
	}
}

func TestWhatWasSeenIsKept(t *testing.T) {
	t.Parallel()
	node := calm()
	for _, change := range []func(*corev1.Node){byKarpenter, deleted, ends("2026-11-25T12:00:00Z"), shuttingDown} {
		change(node)
	}
	want := []string{
		`{"taints":[{"key":"karpenter.sh/disrupted","effect":"NoSchedule"}],"deletionTimestamp":"2026-11-23T12:00:00Z",` +
			`"finalizers":["karpenter.sh/termination"],"terminationTimestamp":"2026-11-25T12:00:00Z"}`,
		`{"ready":"False","reason":"KubeletNotReady","message":"node is shutting down","lastTransitionTime":"2026-11-23T12:00:00Z"}`,
	}
	var got []string
	for _, s := range read(node) {
		got = append(got, s.Raw)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatWasSeenIsKeptWithinItsBounds(t *testing.T) {
	t.Parallel()
	node := calm()
	ready(corev1.ConditionFalse, kubeletReason, kubeletMessage+strings.Repeat("é", agent.MaxRaw))(node)
	for _, s := range read(node) {
		if len(s.Raw) > agent.MaxRaw || !utf8.ValidString(s.Raw) {
			t.Errorf("%d bytes are kept: %q", len(s.Raw), s.Raw)
		}
	}
}
