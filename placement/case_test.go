package placement

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// The nodes of the tables: of each kind that the merge rules tell apart, and one in
// another zone.
var caseNodes = []corev1.Node{
	labelled("spot", "karpenter.sh/capacity-type=spot", "zone=a"),
	labelled("on-demand", "karpenter.sh/capacity-type=on-demand", "zone=a"),
	labelled("reserved", "karpenter.sh/capacity-type=reserved", "zone=a"),
	labelled("bare", "zone=a"),
	labelled("far", "zone=b"),
	labelled("eks-spot", "eks.amazonaws.com/capacityType=SPOT", "zone=a"),
	labelled("gke-spot", "cloud.google.com/gke-spot=true", "zone=a"),
	labelled("old-spot", "node-role.kubernetes.io/spot-worker=", "zone=a"),
}

func labelled(name string, pairs ...string) corev1.Node {
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		node.Labels[key] = value
	}
	return node
}

// allowed lists the nodes that the pod's node selector and required affinity allow.
func allowed(t testing.TB, pod *corev1.Pod, nodes []corev1.Node) string {
	t.Helper()
	var names []string
	affinity := nodeaffinity.GetRequiredNodeAffinity(pod)
	for i := range nodes {
		matches, err := affinity.Match(&nodes[i])
		if err != nil {
			t.Fatalf("matching node %q: %v", nodes[i].Name, err)
		}
		if matches {
			names = append(names, nodes[i].Name)
		}
	}
	return strings.Join(names, " ")
}

// compiled compiles policies that are all understood.
func compiled(t testing.TB, items ...v1alpha1.PlacementPolicy) Policies {
	t.Helper()
	policies, rejections := Compile(items)
	if len(rejections) > 0 {
		t.Fatalf("compiling policies: %v", rejections)
	}
	return policies
}

// The policies of the tables. Every pod of the tables says by its label "want" which
// of them matches it.
func casePolicies(t testing.TB) Policies {
	t.Helper()
	return compiled(t,
		placementtest.Policy(t, "required", `{match: {podSelector: {matchLabels: {want: required}}}, mode: Required}`),
		placementtest.Policy(t, "preferred", `{match: {podSelector: {matchLabels: {want: preferred}}}, mode: Preferred}`),
		placementtest.Policy(t, "autoscaled", `{match: {podSelector: {matchLabels: {want: autoscaled}}}, mode: Auto, longLivedPool: Autoscaled}`),
		placementtest.Policy(t, "tolerant", `
match: {podSelector: {matchLabels: {want: tolerant}}}
mode: Required
tolerations: [{key: dedicated, value: critical, effect: NoSchedule}, {key: dedicated}]`),
		placementtest.Policy(t, "tolerant-preferred", `
match: {podSelector: {matchLabels: {want: tolerant-preferred}}}
mode: Preferred
tolerations: [{key: pool, value: steady}]`),
		placementtest.Policy(t, "gateways", `{priority: 10, match: {owners: [{kind: Deployment, name: "ingress-*"}, {kind: StatefulSet}, {kind: Rollout, name: "edge.??"}]}, mode: Required}`),
		placementtest.Policy(t, "critical", `{match: {priorityClassNames: [system-cluster-critical, system-node-critical]}, mode: Preferred}`),
		placementtest.Policy(t, "team", `{priority: -5, match: {namespaceSelector: {matchLabels: {team: edge}}, podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [batch]}, {key: app, operator: Exists}, {key: beta, operator: DoesNotExist}]}}, mode: Required}`),
	)
}

// caseRules know the PreferNoSchedule taint of the tables' long-lived nodes.
func caseRules() Rules {
	return Rules{}.WithSoftTaints([]corev1.Taint{
		{Key: "pool", Value: "steady", Effect: corev1.TaintEffectPreferNoSchedule},
		{Key: "hard", Effect: corev1.TaintEffectNoSchedule},
	})
}

// placementCase is a pod and what becomes of it. None of them needs to know the
// cluster, so that the API server's own admission policy is held to them too.
type placementCase struct {
	pod string
	// namespace, if not nil, gives the namespace's labels and annotations.
	namespace *Namespace
	reason    Reason
	policy    string
	key       string
	// before and after are the nodes that the pod is allowed on.
	before, after string
}

const (
	anyNode      = "spot on-demand reserved bare far eks-spot gke-spot old-spot"
	anyLongLived = "on-demand reserved bare far"
)

// required is the metadata of a pod that the policy "required" matches; a spec follows.
const required = "metadata: {labels: {want: required}}\n"

const preferred = "metadata: {labels: {want: preferred}}\n"

func terms(text string) string {
	return "spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: " + text + "}}}}"
}

// mergeCases are the rules by which our requirements join what an author wrote.
var mergeCases = map[string]placementCase{
	"a pod without affinity gets one": {
		pod: required, reason: PolicyRequires, before: anyNode, after: anyLongLived,
	},
	"an empty affinity is filled": {
		pod: required + "spec: {affinity: {}}", reason: PolicyRequires, before: anyNode, after: anyLongLived,
	},
	"an empty node affinity is filled": {
		pod: required + "spec: {affinity: {nodeAffinity: {}}}", reason: PolicyRequires, before: anyNode, after: anyLongLived,
	},
	"a pod affinity stays beside ours": {
		pod:    required + "spec: {affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {a: b}}}]}}}",
		reason: PolicyRequires, before: anyNode, after: anyLongLived,
	},
	"a preference of the author's stays beside ours": {
		pod:    required + "spec: {affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 5, preference: {matchExpressions: [{key: karpenter.sh/capacity-type, operator: In, values: [spot]}]}}]}}}",
		reason: PolicyRequires, before: anyNode, after: anyLongLived,
	},
	"a term is narrowed, and not joined by another": {
		pod: required + terms("[{matchExpressions: [{key: zone, operator: In, values: [a]}]}]"), reason: PolicyRequires,
		before: "spot on-demand reserved bare eks-spot gke-spot old-spot", after: "on-demand reserved bare",
	},
	"each of two terms is narrowed": {
		pod:    required + terms("[{matchExpressions: [{key: zone, operator: In, values: [b]}]}, {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [spot, bare]}]}]"),
		reason: PolicyRequires, before: "spot bare far", after: "bare far",
	},
	"a term of fields only is narrowed": {
		pod:    required + terms("[{matchFields: [{key: metadata.name, operator: In, values: [gke-spot]}]}, {matchFields: [{key: metadata.name, operator: In, values: [reserved]}]}]"),
		reason: PolicyRequires, before: "reserved gke-spot", after: "reserved",
	},
	"an empty term matches no node and stays empty": {
		pod:    required + terms("[{}, {matchExpressions: [{key: zone, operator: In, values: [b]}]}]"),
		reason: PolicyRequires, before: "far", after: "far",
	},
	"a pod of empty terms only is left alone": {
		pod: required + terms("[{}, {}]"), reason: EmptyTerms,
	},
	"a term that names a key stays, the other is narrowed": {
		pod:    required + terms("[{matchExpressions: [{key: karpenter.sh/capacity-type, operator: In, values: [spot]}]}, {matchExpressions: [{key: zone, operator: Exists}]}]"),
		reason: PolicyRequires, before: anyNode, after: "spot on-demand reserved bare far",
	},
	"an author who names a key in every term has chosen": {
		pod:    required + terms("[{matchExpressions: [{key: karpenter.sh/capacity-type, operator: In, values: [spot, on-demand]}]}]"),
		reason: AuthorChose, key: "karpenter.sh/capacity-type", before: "spot on-demand", after: "spot on-demand",
	},
	"an author who shuts out one kind of spot has chosen": {
		pod:    required + terms("[{matchExpressions: [{key: cloud.google.com/gke-spot, operator: DoesNotExist}]}]"),
		reason: AuthorChose, key: "cloud.google.com/gke-spot",
		before: "spot on-demand reserved bare far eks-spot old-spot", after: "spot on-demand reserved bare far eks-spot old-spot",
	},
	"an author who asks for spot contradicts the policy": {
		pod:    required + terms("[{matchExpressions: [{key: karpenter.sh/capacity-type, operator: In, values: [spot]}]}, {}]"),
		reason: Contradiction, key: "karpenter.sh/capacity-type", before: "spot", after: "spot",
	},
	"an author who asks for a mark without value contradicts too": {
		pod:    required + terms("[{matchExpressions: [{key: node-role.kubernetes.io/spot-worker, operator: Exists}]}]"),
		reason: Contradiction, key: "node-role.kubernetes.io/spot-worker", before: "old-spot", after: "old-spot",
	},
	"a node selector for spot contradicts": {
		pod: required + "spec: {nodeSelector: {karpenter.sh/capacity-type: spot}}", reason: Contradiction,
		key: "karpenter.sh/capacity-type", before: "spot", after: "spot",
	},
	"a node selector for on-demand is a choice": {
		pod: required + "spec: {nodeSelector: {karpenter.sh/capacity-type: on-demand}}", reason: AuthorChose,
		key: "karpenter.sh/capacity-type", before: "on-demand", after: "on-demand",
	},
	"of two node selectors the one for spot counts": {
		pod: required + "spec: {nodeSelector: {karpenter.sh/capacity-type: on-demand, cloud.google.com/gke-spot: 'true'}}", reason: Contradiction,
		key: "cloud.google.com/gke-spot",
	},
	"another node selector stays beside ours": {
		pod: required + "spec: {nodeSelector: {zone: a}}", reason: PolicyRequires,
		before: "spot on-demand reserved bare eks-spot gke-spot old-spot", after: "on-demand reserved bare",
	},
	"a hundred and one terms are too many": {
		pod:    required + terms("["+strings.Repeat("{matchExpressions: [{key: zone, operator: In, values: [a]}]}, ", maxTerms+1)+"]"),
		reason: TooManyTerms,
		before: "spot on-demand reserved bare eks-spot gke-spot old-spot", after: "spot on-demand reserved bare eks-spot gke-spot old-spot",
	},
	"a preference changes nothing about what is allowed": {
		pod: preferred, reason: PolicyPrefers, before: anyNode, after: anyNode,
	},
	"a preference joins an empty node affinity": {
		pod: preferred + "spec: {affinity: {nodeAffinity: {}}}", reason: PolicyPrefers, before: anyNode, after: anyNode,
	},
	"a preference joins the author's other preferences": {
		pod:    preferred + "spec: {affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: {matchExpressions: [{key: zone, operator: In, values: [a]}]}}]}}}",
		reason: PolicyPrefers, before: anyNode, after: anyNode,
	},
	"a preference joins the author's required terms": {
		pod:    preferred + terms("[{matchExpressions: [{key: zone, operator: In, values: [b]}]}]"),
		reason: PolicyPrefers, before: "far", after: "far",
	},
	"a preference gives way to the author's own": {
		pod:    preferred + "spec: {affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: lifecycle, operator: In, values: [spot]}]}}]}}}",
		reason: AuthorChose, key: "lifecycle", before: anyNode, after: anyNode,
	},
	"a preference gives way to a node selector": {
		pod: preferred + "spec: {nodeSelector: {karpenter.sh/capacity-type: spot}}", reason: Contradiction,
		key: "karpenter.sh/capacity-type", before: "spot", after: "spot",
	},
	"a preference tolerates the soft taint once": {
		pod:    preferred + "spec: {tolerations: [{key: pool, operator: Equal, value: steady, effect: PreferNoSchedule}, {key: x, operator: Exists, effect: NoExecute, tolerationSeconds: 5}]}",
		reason: PolicyPrefers, before: anyNode, after: anyNode,
	},
	"a preference needs no toleration beside one of everything": {
		pod: preferred + "spec: {tolerations: [{operator: Exists}]}", reason: PolicyPrefers, before: anyNode, after: anyNode,
	},
	"a toleration of another effect or value is not enough": {
		pod:    preferred + "spec: {tolerations: [{key: pool, operator: Equal, value: steady, effect: NoSchedule}, {key: pool, value: other}]}",
		reason: PolicyPrefers, before: anyNode, after: anyNode,
	},
	"a namespace with a whitelist gets no toleration": {
		pod: preferred, namespace: &Namespace{Annotations: map[string]string{tolerationsWhitelist: `[{"key":"x","operator":"Exists"}]`}},
		reason: PolicyPrefers, before: anyNode, after: anyNode,
	},
	"a policy's tolerations are added, the narrower of two not": {
		pod: "metadata: {labels: {want: tolerant}}", reason: PolicyRequires, before: anyNode, after: anyLongLived,
	},
	"a policy's toleration that the pod has is not added": {
		pod:    "metadata: {labels: {want: tolerant}}\nspec: {tolerations: [{key: dedicated, operator: Exists}]}",
		reason: PolicyRequires, before: anyNode, after: anyLongLived,
	},
	"a policy's toleration covers the soft taint": {
		pod: "metadata: {labels: {want: tolerant-preferred}}", reason: PolicyPrefers, before: anyNode, after: anyNode,
	},
	"an autoscaled pool is required without a look at the nodes": {
		pod: "metadata: {labels: {want: autoscaled}}", reason: PoolAutoscaled, before: anyNode, after: anyLongLived,
	},
	"a gated pod is placed like any other": {
		pod: required + "spec: {schedulingGates: [{name: example.com/wait}]}", reason: PolicyRequires, before: anyNode, after: anyLongLived,
	},
	"annotations of the pod's own stay": {
		pod: "metadata: {labels: {want: required}, annotations: {example.com/a_b: c, ebbtide.dev/placement-decision: '{}'}}", reason: PolicyRequires,
		before: anyNode, after: anyLongLived,
	},
}

// matchCases are the ways in which a policy finds its pods.
var matchCases = map[string]placementCase{
	"a pod that no policy matches": {
		pod: "metadata: {labels: {want: nothing}}", reason: NoPolicy, before: anyNode, after: anyNode,
	},
	"a pod of a Deployment is known by its hash": {
		pod:    owned("ReplicaSet", "ingress-nginx-abc", "pod-template-hash: abc"),
		reason: PolicyRequires, policy: "gateways", before: anyNode, after: anyLongLived,
	},
	"a pod of a ReplicaSet without the hash is not a Deployment's": {
		pod: owned("ReplicaSet", "ingress-nginx-abc", "app: x"), reason: NoPolicy, before: anyNode, after: anyNode,
	},
	"a pod whose hash is not its ReplicaSet's is not a Deployment's": {
		pod: owned("ReplicaSet", "ingress-nginx-abc", "pod-template-hash: abd"), reason: NoPolicy, before: anyNode, after: anyNode,
	},
	"a pod of an Argo Rollout is known by its own hash": {
		pod:    owned("ReplicaSet", "edge.eu-abc", "rollouts-pod-template-hash: abc"),
		reason: PolicyRequires, policy: "gateways", before: anyNode, after: anyLongLived,
	},
	"a dot in a name is a dot": {
		pod: owned("ReplicaSet", "edge-eu-abc", "rollouts-pod-template-hash: abc"), reason: NoPolicy, before: anyNode, after: anyNode,
	},
	"a kind without a name means every name": {
		pod: owned("StatefulSet", "anything", "app: x"), reason: PolicyRequires, policy: "gateways", before: anyNode, after: anyLongLived,
	},
	"an owner that is not the controller does not count": {
		pod:    "metadata: {ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: a, uid: u}]}",
		reason: NoPolicy, before: anyNode, after: anyNode,
	},
	"the higher priority wins, and says so": {
		pod:    owned("StatefulSet", "db", "want: preferred"),
		reason: PolicyRequires, policy: "gateways", before: anyNode, after: anyLongLived,
	},
	"a namespace and a pod selector are both met": {
		pod: "metadata: {labels: {app: x, tier: web}}", namespace: &Namespace{Labels: map[string]string{"team": "edge"}},
		reason: PolicyRequires, policy: "team", before: anyNode, after: anyLongLived,
	},
	"a namespace selector is not met": {
		pod: "metadata: {labels: {app: x}}", namespace: &Namespace{Labels: map[string]string{"team": "core"}},
		reason: NoPolicy, before: anyNode, after: anyNode,
	},
	"a pod selector is not met": {
		pod: "metadata: {labels: {app: x, beta: '1'}}", namespace: &Namespace{Labels: map[string]string{"team": "edge"}},
		reason: NoPolicy, before: anyNode, after: anyNode,
	},
	"a value that NotIn names is not met": {
		pod: "metadata: {labels: {app: x, tier: batch}}", namespace: &Namespace{Labels: map[string]string{"team": "edge"}},
		reason: NoPolicy, before: anyNode, after: anyNode,
	},
	"a priority class": {
		pod: "spec: {priorityClassName: system-cluster-critical}", reason: PolicyPrefers, policy: "critical", before: anyNode, after: anyNode,
	},
	"a pod that opted out": {
		pod: "metadata: {labels: {want: required}, annotations: {ebbtide.dev/placement: any}}", reason: OptedOut, before: anyNode, after: anyNode,
	},
	"a pod that opted in where a policy matches": {
		pod:    "metadata: {labels: {want: preferred}, annotations: {ebbtide.dev/placement: long-lived}}",
		reason: PolicyPrefers, policy: "preferred", before: anyNode, after: anyNode,
	},
	"a word that is neither is ignored": {
		pod:    "metadata: {labels: {want: required}, annotations: {ebbtide.dev/placement: maybe}}",
		reason: PolicyRequires, before: anyNode, after: anyLongLived,
	},
	"a pod of a DaemonSet": {
		pod: owned("DaemonSet", "agent", "want: required"), reason: DaemonSetPod, before: anyNode, after: anyNode,
	},
	"a pod that names its node": {
		pod: required + "spec: {nodeName: spot}", reason: BoundPod, before: anyNode, after: anyNode,
	},
}

// owned is a pod with a controller and a label.
func owned(kind, name, label string) string {
	return "metadata: {labels: {" + label + "}, ownerReferences: [{apiVersion: apps/v1, kind: " + kind + ", name: " + name + ", uid: u1, controller: true}]}"
}

// refusedCases are pods that the API server refuses: it takes a mirror pod from a
// kubelet only, and no affinity without terms.
var refusedCases = map[string]placementCase{
	"a mirror pod": {
		pod: "metadata: {labels: {want: required}, annotations: {kubernetes.io/config.mirror: x}}", reason: MirrorPod, before: anyNode, after: anyNode,
	},
	"a pod that its node owns": {
		pod:    "metadata: {labels: {want: required}, ownerReferences: [{apiVersion: v1, kind: Node, name: spot, uid: u, controller: true}]}",
		reason: MirrorPod, before: anyNode, after: anyNode,
	},
	"an affinity without terms is left for the API server to refuse": {
		pod: required + terms("[]"), reason: InvalidAffinity,
	},
}

// namespace is where the case's pod is created.
func (c placementCase) where() Namespace {
	namespace := Namespace{Name: "default"}
	if c.namespace != nil {
		namespace.Labels, namespace.Annotations = c.namespace.Labels, c.namespace.Annotations
	}
	return namespace
}
