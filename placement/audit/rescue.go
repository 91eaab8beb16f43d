package audit

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/podutils"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/placement"
)

// nextRescue chooses the pod to move next: one whose rescue was begun and not ended,
// by a leader before this one; else of the policy that wins over most others, the
// first by name. Its budget is asked when it is moved, by whoever moves it.
func (a *auditor) nextRescue() *Rescue {
	order := map[string]int{}
	for i, name := range a.policies.Names() {
		order[name] = i
	}
	slices.SortFunc(a.stranded, func(x, y Rescue) int {
		return cmp.Or(cmp.Compare(order[x.Policy], order[y.Policy]), cmp.Compare(key(x.Pod), key(y.Pod)))
	})
	for i := range a.stranded {
		if begun(a.stranded[i].Pod) && a.untouched(a.stranded[i].Pod) {
			return &a.stranded[i]
		}
	}
	if a.now.Before(a.memory.quiet) {
		return nil
	}
	for i := range a.stranded {
		if a.movable(a.stranded[i].Pod) && a.hasPlace(a.stranded[i].Pod) {
			return &a.stranded[i]
		}
	}
	return nil
}

// begun says whether a rescue has handed the pod over and not moved it.
func begun(pod *corev1.Pod) bool {
	handOver, err := drain.HandOverOf(pod)
	return err == nil && handOver != nil && handOver.Notice == drain.RescueNotice
}

// untouched says whether nobody else moves the pod, and no rescue of its workload has
// lately failed.
func (a *auditor) untouched(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || a.memory.paused(owner.UID, a.now) {
		return false
	}
	return !slices.ContainsFunc(a.nodes[pod.Spec.NodeName].Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Key == drain.TaintKey // an agent empties the node
	})
}

// movable says whether a rescue of the pod may begin. Its workload has to be whole: of
// one that lacks a pod, whether a rescue or a rollout took it, no other is taken.
func (a *auditor) movable(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || !makesAnother(owner.Kind) || !podutils.IsPodReady(pod) || !a.untouched(pod) {
		return false
	}
	if w := a.workloads[owner.UID]; w.ready < w.pods {
		return false
	}
	_, handed := pod.Labels[drain.HandedOverKey]
	return !handed
}

// hasPlace says whether the pod, created anew, would be sent to long-lived nodes, and
// one of them could take it.
func (a *auditor) hasPlace(pod *corev1.Pod) bool {
	anew := *pod // nothing below it is changed
	anew.Spec.NodeName = ""
	decision := a.decideAnew(&anew)
	switch decision.Outcome {
	case placement.PlacedRequired, placement.PlacedPreferred:
	case placement.Unchanged:
		return false // the author chose spot, or said what cannot be met, or nobody would place it
	}
	// A workload whose pod found no room a moment ago would only be moved back.
	if decision.Reason == placement.PendingBefore {
		return false
	}
	return a.all.LongLivedNodes(decision.Apply(&anew), 1) > 0
}

// decideAnew is what would become of the pod if it were created now.
func (a *auditor) decideAnew(pod *corev1.Pod) placement.Decision {
	namespace := a.view.namespace(pod.Namespace)
	switch own := a.view.OwnNamespace; {
	case pod.Namespace == own && own != metav1.NamespaceSystem:
		return placement.Decision{Outcome: placement.Unchanged, Reason: placement.NoPolicy}
	case !a.view.Rendered:
		return placement.Decide(pod, namespace, a.placing, a.rules, a.all)
	case len(a.placing.Governing(pod, namespace)) == 0:
		// The pod's own annotation asks for the mode Auto, which is not rendered.
		return placement.Decision{Outcome: placement.Unchanged, Reason: placement.NoPolicy}
	}
	return placement.Decide(pod, namespace, a.placing, a.rules, nil)
}
