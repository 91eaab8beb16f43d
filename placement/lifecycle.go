package placement

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// SpotMark is a node label by which a provisioner marks its spot nodes.
type SpotMark struct {
	// Key is the label's key.
	Key string `json:"key"`
	// Values are those that mean spot. None: the label means spot whatever its value.
	Values []string `json:"values,omitempty"`
	// UnlessKey and UnlessValue are a second label that takes the mark back. It
	// counts in [Rules.Spot], and not in [Rules.LongLived]: one list of ANDed
	// requirements cannot express it. Empty: nothing takes the mark back.
	UnlessKey   string `json:"unlessKey,omitempty"`
	UnlessValue string `json:"unlessValue,omitempty"`
}

// builtInMarks is research on what each provisioner writes; docs/placement.md has
// the table with its sources. Only what means spot is listed: long-lived nodes are
// often not labelled at all, and what is labelled grows new values (Karpenter's
// "reserved", EKS' "CAPACITY_BLOCK") that mean long-lived.
var builtInMarks = []SpotMark{
	{Key: "karpenter.sh/capacity-type", Values: []string{"spot"}},
	{Key: "eks.amazonaws.com/capacityType", Values: []string{"SPOT"}},
	{Key: "cloud.google.com/gke-spot", Values: []string{"true"}},
	{Key: "cloud.google.com/gke-preemptible", Values: []string{"true"}},
	{Key: "cloud.google.com/gke-provisioning", Values: []string{"spot", "preemptible"}},
	{Key: "kubernetes.azure.com/scalesetpriority", Values: []string{"spot"}},
	{Key: "oci.oraclecloud.com/oke-is-preemptible", Values: []string{"true"}},
	{Key: "spotinst.io/node-lifecycle", Values: []string{"spot"}},
	// When CAST AI finds no spot machine it rents an on-demand one, leaves the spot
	// label on and adds this one. Such a node is not taken back at two minutes'
	// notice, so Spot says no; but CAST AI empties it as soon as there is spot
	// capacity again, so it is no place to send a critical pod to either.
	{Key: "scheduling.cast.ai/spot", Values: []string{"true"}, UnlessKey: "scheduling.cast.ai/spot-fallback", UnlessValue: "true"},
	{Key: "cluster.x-k8s.io/interruptible"},
	{Key: "machine.openshift.io/interruptible-instance"},
	// On Zalando's nodes the label is on both kinds, and says true or false.
	{Key: "aws.amazon.com/spot", Values: []string{"true"}},
	// From here on conventions: no provisioner writes them by itself.
	{Key: "node.kubernetes.io/lifecycle", Values: []string{"spot", "ec2spot"}},
	{Key: "lifecycle", Values: []string{"spot", "Ec2Spot", "EC2Spot"}},
	{Key: "kops.k8s.io/instancetype", Values: []string{"spot"}},
	{Key: "kubernetes.io/role", Values: []string{"spot-worker"}},
	{Key: "node-role.kubernetes.io/spot-worker"},
}

// BuiltInMarks returns the marks of every provisioner that Ebbtide knows.
func BuiltInMarks() []SpotMark { return slices.Clone(builtInMarks) }

// Rules tell spot nodes from long-lived ones by their labels, and how to ask the
// scheduler for the latter. The zero value knows [BuiltInMarks]. Rules are
// immutable and safe for concurrent use.
type Rules struct{ set *ruleSet }

type ruleSet struct {
	marks        []SpotMark
	byKey        map[string]int // index in marks
	requirements []corev1.NodeSelectorRequirement
	// soft are the tolerations that a preference needs; see WithSoftTaints.
	soft []corev1.Toleration
}

var builtInRules = sync.OnceValue(func() *ruleSet { return compileRules(builtInMarks) })

// NewRules makes rules of these marks and no others; to extend the built-in ones,
// give them too. Marks of one key are joined. It returns an error for a key or value
// that no label can have, and when there is no mark: every node would be long-lived.
func NewRules(marks ...SpotMark) (Rules, error) {
	if len(marks) == 0 {
		return Rules{}, errors.New("reading spot marks: there is none, and every node would count as long-lived")
	}
	for _, mark := range marks {
		if err := mark.validate(); err != nil {
			return Rules{}, err
		}
	}
	return Rules{set: compileRules(marks)}, nil
}

func (m SpotMark) validate() error {
	problems := validation.IsQualifiedName(m.Key)
	for _, value := range m.Values {
		problems = append(problems, validation.IsValidLabelValue(value)...)
	}
	if m.UnlessKey != "" {
		problems = append(problems, validation.IsQualifiedName(m.UnlessKey)...)
		problems = append(problems, validation.IsValidLabelValue(m.UnlessValue)...)
	}
	if len(problems) > 0 {
		return fmt.Errorf("reading spot mark %q: %s", m.Key, strings.Join(problems, "; "))
	}
	return nil
}

func compileRules(marks []SpotMark) *ruleSet {
	set := &ruleSet{byKey: make(map[string]int, len(marks))}
	for _, mark := range marks {
		mark.Values = slices.Clone(mark.Values)
		at, known := set.byKey[mark.Key]
		if !known {
			set.byKey[mark.Key] = len(set.marks)
			set.marks = append(set.marks, mark)
			continue
		}
		set.marks[at] = set.marks[at].join(mark)
	}
	for _, mark := range set.marks {
		set.requirements = append(set.requirements, mark.requirement())
	}
	return set
}

// join makes one mark of two with the same key: of either's values, or of any when
// one of them asks for none.
func (m SpotMark) join(other SpotMark) SpotMark {
	if other.UnlessKey != "" {
		m.UnlessKey, m.UnlessValue = other.UnlessKey, other.UnlessValue
	}
	if len(m.Values) == 0 || len(other.Values) == 0 {
		m.Values = nil
		return m
	}
	for _, value := range other.Values {
		if !slices.Contains(m.Values, value) {
			m.Values = append(m.Values, value)
		}
	}
	return m
}

// requirement keeps a pod off the nodes with this mark. Only negative operators: they
// are also met by a node without the label, Karpenter narrows its choice by them, and
// no new kind of long-lived capacity is shut out. NotIn rather than DoesNotExist
// wherever there are values: Karpenter never provisions for DoesNotExist on its own
// key.
func (m SpotMark) requirement() corev1.NodeSelectorRequirement {
	if len(m.Values) == 0 {
		return corev1.NodeSelectorRequirement{Key: m.Key, Operator: corev1.NodeSelectorOpDoesNotExist}
	}
	return corev1.NodeSelectorRequirement{Key: m.Key, Operator: corev1.NodeSelectorOpNotIn, Values: m.Values}
}

// on says whether a node with these labels has the mark, whatever takes it back.
func (m SpotMark) on(labels map[string]string) bool {
	value, found := labels[m.Key]
	return found && (len(m.Values) == 0 || slices.Contains(m.Values, value))
}

func (r Rules) get() *ruleSet {
	if r.set == nil {
		return builtInRules()
	}
	return r.set
}

// Spot says whether a node with these labels is one that the cloud takes back at
// short notice: it has a mark that nothing takes back.
func (r Rules) Spot(labels map[string]string) bool {
	for _, mark := range r.get().marks {
		if !mark.on(labels) {
			continue
		}
		if value, found := labels[mark.UnlessKey]; mark.UnlessKey == "" || !found || value != mark.UnlessValue {
			return true
		}
	}
	return false
}

// LongLived says whether pods are sent to a node with these labels: it has no mark
// at all. It is exactly what [Rules.Requirements] match. A node whose mark is taken
// back is neither spot nor long-lived.
func (r Rules) LongLived(labels map[string]string) bool {
	for _, mark := range r.get().marks {
		if mark.on(labels) {
			return false
		}
	}
	return true
}

// Requirements returns what a node selector term must hold, all of it, to match
// long-lived nodes only. There is always at least one.
func (r Rules) Requirements() []corev1.NodeSelectorRequirement {
	requirements := slices.Clone(r.get().requirements)
	for i := range requirements {
		requirements[i].Values = slices.Clone(requirements[i].Values)
	}
	return requirements
}

// WithSoftTaints returns rules that also know the PreferNoSchedule taints of the
// long-lived nodes; taints with another effect are passed over. A pod that prefers
// long-lived nodes is given a toleration for each: the scheduler weighs such a taint
// at 3 and node affinity at 2, so that without it the preference would lose.
// [SoftTaints] collects them from nodes.
func (r Rules) WithSoftTaints(taints []corev1.Taint) Rules {
	set := *r.get()
	set.soft = nil
	for _, taint := range taints {
		if taint.Effect == corev1.TaintEffectPreferNoSchedule {
			set.soft = append(set.soft, corev1.Toleration{
				Key: taint.Key, Operator: corev1.TolerationOpEqual, Value: taint.Value, Effect: taint.Effect,
			})
		}
	}
	return Rules{set: &set}
}
