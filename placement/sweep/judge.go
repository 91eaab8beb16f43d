package sweep

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubectl/pkg/util/podutils"

	"github.com/ebbtide/ebbtide/drain"
)

// isAgentOf says whether the pod is an agent of the node: by the labels that the chart
// gives to all of them, whatever the release is called; or by the name that one of other
// making has left.
func isAgentOf(left Leftover, pod *corev1.Pod) bool {
	if pod.Spec.NodeName != left.Name {
		return false
	}
	return pod.Labels["app.kubernetes.io/part-of"] == "ebbtide" && pod.Labels["app.kubernetes.io/component"] == "agent" ||
		left.State != nil && left.State.Agent == pod.Name
}

// View is a cluster at one moment. Nothing in it is changed.
type View struct {
	Nodes []*corev1.Node
	Pods  []*corev1.Pod
}

// Memory is what a judgement has to know of those before it. The zero value knows
// nothing, so that whoever begins to judge waits for as long as anybody else did. A
// Memory is never changed.
type Memory struct {
	alone  map[types.UID]time.Time // by node with something left, since when it is Ready and without an agent that is
	handed map[types.UID]time.Time // by pod, since when it is handed over
}

// Judge returns what nobody else will take back, in the order of the nodes' names, and
// what to remember. after is how long is waited for an agent; it is more than a rescue
// takes, which hands pods over too.
//
// A node that carries a state is due when, for as long as after, its deadline has been
// past, the node has been Ready and no agent on it has. A machine that is down needs
// nothing: it is gone soon, or comes back with its agent. The deadline of a state
// without one is past.
//
// Pods that are handed over on a node without a state are due when they all have been
// for as long, and it was a rescue that handed them over, or no agent is there either.
// Those of a node that does not exist are due at once: nobody comes back for them, and
// they count among the pods that their Deployment may have too many.
//
// What is due is to be asked about once more before it is taken back: a view may be old.
func Judge(view View, after time.Duration, now time.Time, before Memory) ([]Leftover, Memory) {
	found := Find(view.Nodes, view.Pods)
	served := map[string]bool{} // the nodes that have an agent
	for _, pod := range view.Pods {
		if left, is := found[pod.Spec.NodeName]; is && isAgentOf(left, pod) && serves(pod) {
			served[pod.Spec.NodeName] = true
		}
	}
	memory := Memory{alone: map[types.UID]time.Time{}, handed: map[types.UID]time.Time{}}
	var due []Leftover
	for name, left := range found {
		for _, pod := range left.Handed {
			memory.handed[pod.UID] = since(before.handed, pod.UID, now)
		}
		if left.Node != nil && isReady(left.Node) && !served[name] {
			memory.alone[left.Node.UID] = since(before.alone, left.Node.UID, now)
		}
		if memory.isDue(left, now.Add(-after)) {
			due = append(due, left)
		}
	}
	slices.SortFunc(due, func(x, y Leftover) int { return cmp.Compare(x.Name, y.Name) })
	return due, memory
}

// isDue says whether what is left has been nobody's since patient.
func (m Memory) isDue(left Leftover, patient time.Time) bool {
	switch {
	case left.Node == nil:
		return true
	case left.Err != nil || left.Node.DeletionTimestamp != nil:
		return false
	}
	began, alone := m.alone[left.Node.UID]
	alone = alone && !began.After(patient)
	if left.State != nil {
		return alone && !left.State.Deadline.After(patient)
	}
	return isReady(left.Node) && !slices.ContainsFunc(left.Handed, func(pod *corev1.Pod) bool {
		return m.handed[pod.UID].After(patient) || !alone && !isRescued(pod)
	})
}

// without returns a memory in which these nodes were never seen without an agent: they
// are waited for anew.
func (m Memory) without(nodes []Leftover) Memory {
	alone := maps.Clone(m.alone)
	for _, left := range nodes {
		if left.Node != nil {
			delete(alone, left.Node.UID)
		}
	}
	m.alone = alone
	return m
}

// since is when something began that is so now.
func since(known map[types.UID]time.Time, uid types.UID, now time.Time) time.Time {
	if began, found := known[uid]; found {
		return began
	}
	return now
}

// serves says whether an agent's pod looks after its node. One that is blind is not
// Ready; it is told from one that is not there before anything is done.
func serves(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && podutils.IsPodReady(pod)
}

// isRescued says whether it was a rescue that handed the pod over, and not an agent.
func isRescued(pod *corev1.Pod) bool {
	handOver, err := drain.HandOverOf(pod)
	return err == nil && handOver != nil && handOver.Notice == drain.RescueNotice
}

func isReady(node *corev1.Node) bool {
	for i := range node.Status.Conditions {
		if c := &node.Status.Conditions[i]; c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
