package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The annotation crd-revision below tells placement which of two CRDs is newer. It is
// raised with every change that reaches the CRD, of comments too; a test of placement/crd
// asks for it.

// PlacementPolicy keeps the pods that it matches on long-lived nodes: nodes that the
// cloud does not take back at two minutes' notice.
//
// It acts on pods as they are created, and never on a running one unless spec.rescue
// is set. Pods of DaemonSets, static pods, pods that name their node, and pods whose
// author already chose between spot and long-lived are left as they are. The
// annotation ebbtide.dev/placement of a pod template, with the value "long-lived" or
// "any", overrides every policy.
//
// +kubebuilder:metadata:annotations="ebbtide.dev/crd-revision=1"
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=plp,categories=ebbtide
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.pods`,description="Running pods that the policy governs."
// +kubebuilder:printcolumn:name="On-spot",type=integer,JSONPath=`.status.onSpot`,description="Those of them that run on spot nodes."
// +kubebuilder:printcolumn:name="Safe",type=string,JSONPath=`.status.conditions[?(@.type=="Safe")].status`,description="True when no pod of the policy runs on a spot node."
// +kubebuilder:printcolumn:name="Accepted",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type PlacementPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec PlacementPolicySpec `json:"spec"`
	// +optional
	Status PlacementPolicyStatus `json:"status,omitzero"`
}

// PlacementPolicyList is a list of policies.
//
// +kubebuilder:object:root=true
type PlacementPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []PlacementPolicy `json:"items"`
}

// PlacementPolicySpec says which pods are meant and how firmly they are placed.
//
// +kubebuilder:validation:XValidation:rule="!has(self.pendingTimeout) || !has(self.mode) || self.mode == 'Auto'",message="pendingTimeout is of the mode Auto: with Required a pod waits for as long as it takes, with Preferred it never waits for a long-lived node"
type PlacementPolicySpec struct {
	// Priority decides between policies that match the same pod: the highest wins,
	// and of equal ones the first by name.
	//
	// +optional
	// +default=0
	Priority int32 `json:"priority,omitempty"`

	// Match says which pods are meant. A pod has to meet every criterion that is
	// set; of a criterion that is a list, one element.
	//
	// +required
	Match Match `json:"match"`

	// Mode says how firmly pods are kept off spot nodes.
	//
	// Required: they run on a long-lived node or not at all.
	// Preferred: the scheduler is asked for a long-lived node, and takes a spot node
	// when there is no room.
	// Auto: Required while at least two Ready long-lived nodes could run the pod, or
	// longLivedPool is Autoscaled; Preferred otherwise, and for the pods of a
	// workload that Required lately left Pending.
	//
	// +optional
	// +default="Auto"
	Mode Mode `json:"mode,omitempty"`

	// LongLivedPool says whether the long-lived nodes grow in number when a pod finds
	// no room. Autoscaled keeps the mode Auto at Required even while there is no such
	// node: a preference alone makes no autoscaler add one.
	//
	// +optional
	// +default="Fixed"
	LongLivedPool LongLivedPool `json:"longLivedPool,omitempty"`

	// PendingTimeout is how long the mode Auto lets a pod wait for a long-lived node while
	// another node could run it. Then the pod is deleted, and the one that its controller
	// makes in its place is placed as by Preferred. From 30s to 1h. Absent, it is 60s, and
	// 5m where longLivedPool is Autoscaled: a machine takes minutes to boot, and is
	// ordered for nothing when the pod does not wait for it.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^([0-9]{1,4}(h|m|s)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('30s') && duration(self) <= duration('1h')",message="pendingTimeout is from 30s to 1h"
	PendingTimeout *metav1.Duration `json:"pendingTimeout,omitempty"`

	// Tolerations are added to the matched pods, for long-lived nodes that are
	// tainted against everything else.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// Rescue lets the auditor move matched pods off spot nodes, one at a time and
	// within their disruption budgets, when a long-lived node can take them.
	//
	// +optional
	Rescue bool `json:"rescue,omitempty"`
}

// Mode is how firmly pods are kept off spot nodes.
//
// +enum
// +kubebuilder:validation:Enum=Required;Preferred;Auto
type Mode string

// The modes; [PlacementPolicySpec] says what they mean.
const (
	Required  Mode = "Required"
	Preferred Mode = "Preferred"
	Auto      Mode = "Auto"
)

// LongLivedPool says whether long-lived nodes are added when pods find no room.
//
// +enum
// +kubebuilder:validation:Enum=Fixed;Autoscaled
type LongLivedPool string

// The kinds of pool.
const (
	Fixed      LongLivedPool = "Fixed"
	Autoscaled LongLivedPool = "Autoscaled"
)

// Match is a set of criteria, of which a pod has to meet all.
//
// +kubebuilder:validation:XValidation:rule="(has(self.namespaceSelector) && ((has(self.namespaceSelector.matchLabels) && size(self.namespaceSelector.matchLabels) > 0) || (has(self.namespaceSelector.matchExpressions) && size(self.namespaceSelector.matchExpressions) > 0))) || (has(self.podSelector) && ((has(self.podSelector.matchLabels) && size(self.podSelector.matchLabels) > 0) || (has(self.podSelector.matchExpressions) && size(self.podSelector.matchExpressions) > 0))) || has(self.owners) || has(self.priorityClassNames)",message="match is empty and would take every pod of the cluster; name a namespaceSelector, a podSelector, owners or priorityClassNames (to mean every pod, select the namespaces where kubernetes.io/metadata.name Exists)"
type Match struct {
	// NamespaceSelector selects the pods' namespaces by label. Every namespace has
	// the label kubernetes.io/metadata.name. Absent, all are meant.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || size(e.values) == 0))",message="operator is In or NotIn with values, or Exists or DoesNotExist without"
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// PodSelector selects pods by label. Absent, all are meant.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || size(e.values) == 0))",message="operator is In or NotIn with values, or Exists or DoesNotExist without"
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`

	// Owners names the workloads that the pods belong to.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Owners []Owner `json:"owners,omitempty"`

	// PriorityClassNames names priority classes, such as system-cluster-critical.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	PriorityClassNames []string `json:"priorityClassNames,omitempty"`
}

// Owner names workloads by what a pod alone tells of them: its controller, and for
// the pod of a Deployment the name that its ReplicaSet and pod-template-hash give.
//
// +kubebuilder:validation:XValidation:rule="self.kind != 'DaemonSet'",message="the pods of a DaemonSet belong to their nodes and are never placed; give the DaemonSet's own template a node affinity"
// +kubebuilder:validation:XValidation:rule="self.kind != 'CronJob'",message="a pod names its Job, not the CronJob; use kind Job and a name such as backup-*"
type Owner struct {
	// Kind is the kind of the workload: Deployment, StatefulSet, Job, ReplicaSet,
	// Rollout, or the kind of any other controller that owns pods itself.
	//
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]*$`
	Kind string `json:"kind"`

	// Name is the workload's name, in which * stands for any characters and ? for
	// one. Absent, every name is meant.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-a-z0-9.*?]+$`
	Name string `json:"name,omitempty"`
}

// Toleration is the part of a pod's toleration that placement needs.
type Toleration struct {
	// Key is the key of the taint.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="!self.contains('/') || !format.dns1123Subdomain().validate(self.split('/')[0]).hasValue()",message="what stands before the slash is a DNS name"
	Key string `json:"key"`

	// Value is the value of the taint. Absent, every value is tolerated.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
	Value *string `json:"value,omitempty"`

	// Effect is the effect of the taint. Absent, every effect is tolerated.
	//
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
	Effect corev1.TaintEffect `json:"effect,omitempty"`
}

// PlacementPolicyStatus is what the auditor saw last.
type PlacementPolicyStatus struct {
	// ObservedGeneration is the generation of the spec that the status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Pods counts the running and pending pods that this policy governs: it matches
	// them and no policy of higher priority does. Absent until it was counted.
	//
	// +optional
	Pods *int32 `json:"pods,omitempty"`

	// OnSpot counts those of them that run on spot nodes.
	//
	// +optional
	OnSpot *int32 `json:"onSpot,omitempty"`

	// Pending counts those of them that wait for a node.
	//
	// +optional
	Pending *int32 `json:"pending,omitempty"`

	// Conditions are Accepted, Safe, Overlaps and, where policies are rendered to
	// MutatingAdmissionPolicies, Rendered.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The types of a policy's conditions.
const (
	// ConditionAccepted is True when the policy is in force, and False, with the
	// mistake in its message, when no pod is placed by it.
	ConditionAccepted = "Accepted"
	// ConditionSafe is True when no pod of the policy runs on a spot node, and
	// Unknown until they were counted.
	ConditionSafe = "Safe"
	// ConditionOverlaps is True when another policy matches some of its pods too; the
	// message says which of the two governs them.
	ConditionOverlaps = "Overlaps"
	// ConditionRendered is True when the policy is in force as part of a
	// MutatingAdmissionPolicy; absent where a webhook serves the policies.
	ConditionRendered = "Rendered"
)
