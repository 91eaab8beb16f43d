package audit

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubectl/pkg/util/podutils"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
)

// View is a cluster at one moment. Nothing in it is ever changed, so that it may share
// its objects with a cache.
type View struct {
	Policies []v1alpha1.PlacementPolicy
	// Namespaces are found by name. A namespace that is missing has no labels.
	Namespaces map[string]placement.Namespace
	Nodes      []*corev1.Node
	Pods       []*corev1.Pod
	// Rendered is true where an admission policy places the pods that are to come, which
	// acts by some of the policies and knows no node; see [placement.Render].
	Rendered bool
	// OwnNamespace is where the program itself runs: neither the webhook nor an admission
	// policy places the pods there, unless it is kube-system. Empty is not known, or
	// nowhere.
	OwnNamespace string
}

func (v View) namespace(name string) placement.Namespace {
	if namespace, found := v.Namespaces[name]; found {
		return namespace
	}
	return placement.Namespace{Name: name}
}

// Findings is what an audit comes to.
type Findings struct {
	// Policies has an entry for each policy of the view, in the order of their names.
	Policies []PolicyFinding
	// Readmit are the pods to delete so that they are admitted anew, those that wait
	// longest first.
	Readmit []Readmission
	// Rescue is the pod to move off its spot node next; nil when there is none, or
	// none may be moved now.
	Rescue *Rescue
	// Memory is to be given to the next audit.
	Memory Memory
}

// Readmission is a pod that runs nowhere because of our requirements.
type Readmission struct {
	Pod *corev1.Pod
	// Policy governs it; empty when its own annotation asked for long-lived nodes.
	Policy string
	// Waited is how long the scheduler has found no node for it.
	Waited time.Duration
}

// Rescue is a pod on a spot node that a long-lived node can take.
type Rescue struct {
	Pod    *corev1.Pod
	Policy string
}

// Audit judges a cluster. The rules are those by which the webhook decides.
func Audit(view View, rules placement.Rules, now time.Time, before Memory) Findings {
	a := newAuditor(view, rules, now, before)
	for _, pod := range view.Pods {
		if living(pod) {
			a.look(pod)
		}
	}
	findings := Findings{Policies: a.policyFindings(), Readmit: a.readmissions, Memory: a.memory}
	slices.SortStableFunc(findings.Readmit, func(x, y Readmission) int {
		return cmp.Or(cmp.Compare(y.Waited, x.Waited), cmp.Compare(key(x.Pod), key(y.Pod)))
	})
	findings.Rescue = a.nextRescue()
	return findings
}

// auditor is one audit under way.
type auditor struct {
	view   View
	rules  placement.Rules
	now    time.Time
	before Memory
	memory Memory

	policies placement.Policies
	// placing are those of them by which pods that are created now are placed.
	placing  placement.Policies
	rejected map[string]error
	// specs are found by policy name.
	specs map[string]*v1alpha1.PlacementPolicySpec
	nodes map[string]*corev1.Node
	// all is what the cluster can hold; elsewhere leaves the long-lived nodes out.
	all       *placement.Snapshot
	elsewhere *placement.Snapshot
	workloads map[types.UID]*workload

	tallies      map[string]*tally
	readmissions []Readmission
	stranded     []Rescue // every pod of a policy with rescue that is on a spot node
}

// tally counts the pods of one policy.
type tally struct {
	pods, pending int32
	onSpot        []string // namespace/name
	// wins and loses count the pods that another policy, found by name, matches too.
	wins, loses map[string]int
}

// workload is what the pods of one controller tell of it.
type workload struct{ pods, ready int }

func newAuditor(view View, rules placement.Rules, now time.Time, before Memory) *auditor {
	a := &auditor{
		view: view, rules: rules, now: now, before: before,
		rejected: map[string]error{}, specs: map[string]*v1alpha1.PlacementPolicySpec{},
		nodes: map[string]*corev1.Node{}, workloads: map[types.UID]*workload{}, tallies: map[string]*tally{},
	}
	var rejections []placement.Rejection
	a.policies, rejections = placement.Compile(view.Policies)
	if a.placing = a.policies; view.Rendered {
		a.placing = placement.Render(a.policies, rules, placement.RenderOptions{}).InForce
	}
	for _, rejection := range rejections {
		a.rejected[rejection.Policy] = rejection.Err
	}
	for i := range view.Policies {
		name := view.Policies[i].Name
		a.specs[name] = &view.Policies[i].Spec
		a.tallies[name] = &tally{wins: map[string]int{}, loses: map[string]int{}}
	}
	for _, node := range view.Nodes {
		a.nodes[node.Name] = node
	}
	for _, pod := range view.Pods {
		a.count(pod)
	}
	a.memory = before.learn(view.Pods, now)
	states := placement.NodeStates(view.Nodes, view.Pods)
	a.all = placement.NewSnapshot(rules, states, a.memory.LatelyPending())
	a.elsewhere = placement.NewSnapshot(rules, slices.DeleteFunc(slices.Clone(states), func(s placement.NodeState) bool {
		return rules.LongLived(s.Node.Labels)
	}), nil)
	return a
}

// count adds a pod to its workload. One that is ending is part of it until it is gone,
// so that a workload is whole only when a replacement is there and the pod before it
// is not.
func (a *auditor) count(pod *corev1.Pod) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || ended(pod) {
		return
	}
	w := a.workloads[owner.UID]
	if w == nil {
		w = &workload{}
		a.workloads[owner.UID] = w
	}
	w.pods++
	if pod.DeletionTimestamp == nil && podutils.IsPodReady(pod) {
		w.ready++
	}
}

// look adds a living pod to the tally of its policy and to whatever it is a case of.
func (a *auditor) look(pod *corev1.Pod) {
	governing := a.governing(pod)
	if len(governing) == 0 {
		if pod.Annotations[placement.OverrideAnnotation] == placement.OverrideLongLived {
			a.lookPending(pod, "")
		}
		return
	}
	name := governing[0]
	t := a.tallies[name]
	t.pods++
	for _, other := range governing[1:] {
		t.wins[other]++
		a.tallies[other].loses[name]++
	}
	if pod.Spec.NodeName == "" {
		t.pending++
		a.lookPending(pod, name)
		return
	}
	if node := a.nodes[pod.Spec.NodeName]; node != nil && a.rules.Spot(node.Labels) {
		t.onSpot = append(t.onSpot, key(pod))
		if a.specs[name].Rescue {
			a.stranded = append(a.stranded, Rescue{Pod: pod, Policy: name})
		}
	}
}

// governing names the policies that match the pod, the one that governs it first. Where
// an admission policy places the pods, that is one of those that were rendered: of one
// that was not the pods are counted where no other has them.
func (a *auditor) governing(pod *corev1.Pod) []string {
	namespace := a.view.namespace(pod.Namespace)
	names := a.policies.Governing(pod, namespace)
	if !a.view.Rendered || len(names) < 2 {
		return names
	}
	first := a.placing.Governing(pod, namespace)
	return append(first, slices.DeleteFunc(names, func(name string) bool { return slices.Contains(first, name) })...)
}

// living says whether a pod runs or is to run: one that is ending needs no other node.
func living(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil && !ended(pod) }

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func key(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }
