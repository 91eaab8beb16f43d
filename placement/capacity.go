package placement

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	podresource "k8s.io/component-helpers/resource"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// NodeState is what a decision needs of a node.
type NodeState struct {
	// Node is read for its name, labels, taints and conditions, and never changed.
	Node *corev1.Node
	// Free is what is allocatable less what the node's pods request; the resource
	// "pods" counts them. A resource that is not listed is not there.
	Free corev1.ResourceList
}

// NodeStates reckons what is free on each node. Pods that have ended or name none of
// the nodes do not count.
func NodeStates(nodes []*corev1.Node, pods []*corev1.Pod) []NodeState {
	states := make([]NodeState, 0, len(nodes))
	at := make(map[string]int, len(nodes))
	for _, node := range nodes {
		at[node.Name] = len(states)
		states = append(states, NodeState{Node: node, Free: node.Status.Allocatable.DeepCopy()})
	}
	for _, pod := range pods {
		i, known := at[pod.Spec.NodeName]
		if !known || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		for name, requested := range requests(pod) {
			if free, found := states[i].Free[name]; found {
				free.Sub(requested)
				states[i].Free[name] = free
			}
		}
	}
	return states
}

// requests is what the scheduler sets aside for a pod, the pod itself included.
func requests(pod *corev1.Pod) corev1.ResourceList {
	requested := podresource.PodRequests(pod, podresource.PodResourcesOptions{})
	if requested == nil {
		requested = corev1.ResourceList{}
	}
	requested[corev1.ResourcePods] = *resource.NewQuantity(1, resource.DecimalSI)
	return requested
}

// Snapshot is the [Capacity] of a cluster's nodes at one moment. It is immutable and
// safe for concurrent use. It knows a pod's node selector, required node affinity,
// tolerations and requests; it does not know topology spread, pod affinity, volumes
// and host ports, and so may count a node that the scheduler then refuses.
type Snapshot struct {
	rules     Rules
	longLived []NodeState
	others    []NodeState
	pending   sets.Set[types.UID]
}

var _ Capacity = (*Snapshot)(nil)

// NewSnapshot makes a snapshot of the nodes that pods can be sent to: Ready, not
// cordoned, and under no notice, be it an advice that only the scheduler is asked to
// heed. LatelyPending are the UIDs of the controllers whose pods our requirements
// lately left Pending; nil is none.
func NewSnapshot(rules Rules, nodes []NodeState, latelyPending []types.UID) *Snapshot {
	s := &Snapshot{rules: rules, pending: sets.New(latelyPending...)}
	for _, state := range nodes {
		switch {
		case state.Node.Spec.Unschedulable || !ready(state.Node) || underNotice(state.Node):
		case rules.LongLived(state.Node.Labels):
			s.longLived = append(s.longLived, state)
		default:
			s.others = append(s.others, state)
		}
	}
	return s
}

// underNotice says whether an agent has been told that the node may end.
func underNotice(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == interruptionTaint })
}

func ready(node *corev1.Node) bool {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == corev1.NodeReady {
			return node.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

// LongLivedNodes counts the Ready long-lived nodes that could run the pod now, up to
// enough.
func (s *Snapshot) LongLivedNodes(pod *corev1.Pod, enough int) int {
	return count(s.longLived, pod, enough)
}

// LatelyPending says whether the pod's controller is one that the snapshot was told.
func (s *Snapshot) LatelyPending(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && s.pending.Has(owner.UID)
}

// Blocked says whether our requirements alone keep the pod from running: no node
// could run it as it is, and without them at least one could.
func (s *Snapshot) Blocked(pod *corev1.Pod) bool {
	if count(s.longLived, pod, 1) > 0 || count(s.others, pod, 1) > 0 {
		return false
	}
	without, changed := s.rules.without(pod)
	return changed && count(s.others, without, 1) > 0
}

// without returns a copy of the pod without our requirements, and whether it had any.
func (r Rules) without(pod *corev1.Pod) (*corev1.Pod, bool) {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil ||
		pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return pod, false
	}
	rules, changed := r.get(), false
	pod = pod.DeepCopy()
	affinity := pod.Spec.Affinity.NodeAffinity
	terms := affinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	for i := range terms {
		if !rules.holdsAll(&terms[i]) {
			continue
		}
		changed = true
		terms[i].MatchExpressions = slices.DeleteFunc(terms[i].MatchExpressions, func(e corev1.NodeSelectorRequirement) bool {
			at, marked := rules.byKey[e.Key]
			return marked && sameRequirement(&e, &rules.requirements[at])
		})
		if len(terms[i].MatchExpressions) == 0 && len(terms[i].MatchFields) == 0 {
			// It held nothing but ours: any node will do, which an empty term would not say.
			affinity.RequiredDuringSchedulingIgnoredDuringExecution = nil
			break
		}
	}
	return pod, changed
}

func count(states []NodeState, pod *corev1.Pod, enough int) int {
	if len(states) == 0 {
		return 0
	}
	affinity, requested, found := nodeaffinity.GetRequiredNodeAffinity(pod), requests(pod), 0
	for i := range states {
		if found >= enough {
			break
		}
		if fits(&states[i], pod, affinity, requested) {
			found++
		}
	}
	return found
}

func fits(state *NodeState, pod *corev1.Pod, affinity nodeaffinity.RequiredNodeAffinity, requested corev1.ResourceList) bool {
	for name, wanted := range requested {
		if free := state.Free[name]; wanted.Sign() > 0 && free.Cmp(wanted) < 0 {
			return false
		}
	}
	// The logger hears of tolerations with comparison operators, which are off.
	if _, untolerated := schedulinghelper.FindMatchingUntoleratedTaint(klog.Logger{}, state.Node.Spec.Taints, pod.Spec.Tolerations, keepsOff, false); untolerated {
		return false
	}
	// An affinity that cannot be read matches no node: the API server refuses the pod.
	matches, err := affinity.Match(state.Node)
	return err == nil && matches
}

func keepsOff(taint *corev1.Taint) bool {
	return taint.Effect == corev1.TaintEffectNoSchedule || taint.Effect == corev1.TaintEffectNoExecute
}

// maxSoftTaints is how many different taints a preference is given tolerations for.
const maxSoftTaints = 8

// SoftTaints collects the PreferNoSchedule taints of the long-lived nodes, for
// [Rules.WithSoftTaints]: the ones that most nodes have, and no more than eight, in the
// order of their keys. Our own taints and those of the node lifecycle controller are left
// out: they speak of a node's state and not of what the node is for.
func SoftTaints(rules Rules, nodes []*corev1.Node) []corev1.Taint {
	counts := map[corev1.Taint]int{}
	for _, node := range nodes {
		if !rules.LongLived(node.Labels) {
			continue
		}
		for _, taint := range node.Spec.Taints {
			if taint.Effect == corev1.TaintEffectPreferNoSchedule && !speaksOfState(taint.Key) {
				counts[corev1.Taint{Key: taint.Key, Value: taint.Value, Effect: taint.Effect}]++
			}
		}
	}
	taints := make([]corev1.Taint, 0, len(counts))
	for taint := range counts {
		taints = append(taints, taint)
	}
	slices.SortFunc(taints, func(a, b corev1.Taint) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
	taints = taints[:min(len(taints), maxSoftTaints)]
	// How common each is changes with every node. What is made of the same taints must
	// not: an admission policy that differs is tried out and written anew.
	slices.SortFunc(taints, func(a, b corev1.Taint) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
	return taints
}

func speaksOfState(key string) bool {
	return strings.HasPrefix(key, prefix) || strings.HasPrefix(key, "node.kubernetes.io/")
}
