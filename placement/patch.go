package placement

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Operation is one operation of a JSON Patch (RFC 6902).
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Record is what [DecisionAnnotation] says: which policy placed the pod, or left it
// alone, and why.
type Record struct {
	// Policy is empty when the pod's own annotation asked.
	Policy  string  `json:"policy"`
	Outcome Outcome `json:"decision"`
	Reason  Reason  `json:"reason"`
}

// ReadRecord returns what was recorded on the pod, and false when nothing readable was.
func ReadRecord(pod *corev1.Pod) (Record, bool) {
	value, found := pod.Annotations[DecisionAnnotation]
	if !found {
		return Record{}, false
	}
	var record Record
	if err := json.Unmarshal([]byte(value), &record); err != nil || record.Reason.Outcome() != record.Outcome || record.Outcome == "" {
		return Record{}, false
	}
	return record, true
}

// maxAnnotations is how much all annotations of an object may take together, keys and
// values, in bytes; the API server refuses more.
const maxAnnotations = 256 << 10

// changes are what a decision does to its pod.
type changes struct {
	rules *ruleSet
	// open are the terms to add to; noTerms, that the first one is to be made.
	open    []int
	noTerms bool
	// prefer adds our preference.
	prefer      bool
	tolerations []corev1.Toleration
	annotation  string
	pod         *corev1.Pod // as it was before: the paths depend on it
}

// place fills in what the reason's outcome asks for. It returns the reason and key to
// report: the author may turn out to have chosen what would only be preferred.
func (c *changes) place(pod *corev1.Pod, chosen author, rules *ruleSet, reason Reason, tolerations []corev1.Toleration) (Reason, string) {
	c.pod, c.rules = pod, rules
	switch reason.Outcome() {
	case PlacedRequired:
		c.open, c.noTerms = chosen.open, !chosen.required
	case PlacedPreferred:
		switch {
		case chosen.preferred:
		case chosen.placed:
			return AuthorChose, chosen.termKey
		case chosen.preferenceKey != "":
			return AuthorChose, chosen.preferenceKey
		default:
			c.prefer = true
		}
	case Unchanged:
	}
	for i := range tolerations {
		want := &tolerations[i]
		covered := func(have corev1.Toleration) bool { return covers(&have, want) }
		if !slices.ContainsFunc(pod.Spec.Tolerations, covered) && !slices.ContainsFunc(c.tolerations, covered) {
			c.tolerations = append(c.tolerations, *want)
		}
	}
	return reason, ""
}

// record sets the annotation, unless it says so already or the pod has no room for it.
func (c *changes) record(pod *corev1.Pod, decision Decision) {
	c.pod = pod
	record := Record{Policy: decision.Policy, Outcome: decision.Outcome, Reason: decision.Reason}
	if decision.Reason == AlreadyPlaced {
		// The first decision knew more.
		if before, found := ReadRecord(pod); found && before.Policy == record.Policy && before.Outcome == record.Outcome {
			return
		}
	}
	value := record.String()
	had, found := pod.Annotations[DecisionAnnotation]
	if found && had == value {
		return
	}
	size := len(DecisionAnnotation) + len(value)
	for k, v := range pod.Annotations {
		if k != DecisionAnnotation {
			size += len(k) + len(v)
		}
	}
	if size <= maxAnnotations {
		c.annotation = value
	}
}

// String is the record as JSON. It is composed by hand because a MutatingAdmissionPolicy
// has to compose the same: no field needs escaping, a policy's name being a DNS name.
func (r Record) String() string {
	return `{"policy":"` + r.Policy + `","decision":"` + string(r.Outcome) + `","reason":"` + string(r.Reason) + `"}`
}

func (c *changes) none() bool {
	return len(c.open) == 0 && !c.noTerms && !c.prefer && len(c.tolerations) == 0 && c.annotation == ""
}

// Patch returns the JSON Patch that does what was decided to the pod that was given to
// [Decide]; nil when there is nothing to do.
func (d Decision) Patch() []Operation {
	c := &d.changes
	if c.none() {
		return nil
	}
	operations := c.affinityOperations(make([]Operation, 0, 4))
	if len(c.tolerations) > 0 && len(c.pod.Spec.Tolerations) == 0 {
		operations = append(operations, add("/spec/tolerations", c.tolerations))
	} else {
		for i := range c.tolerations {
			operations = append(operations, add("/spec/tolerations/-", &c.tolerations[i]))
		}
	}
	switch {
	case c.annotation == "":
	case len(c.pod.Annotations) == 0:
		operations = append(operations, add("/metadata/annotations", map[string]string{DecisionAnnotation: c.annotation}))
	default:
		// Adding the map would replace what is there.
		operations = append(operations, add("/metadata/annotations/ebbtide.dev~1placement-decision", c.annotation))
	}
	return operations
}

func add(path string, value any) Operation { return Operation{Op: "add", Path: path, Value: value} }

const (
	affinityPath  = "/spec/affinity"
	nodePath      = affinityPath + "/nodeAffinity"
	requiredPath  = nodePath + "/requiredDuringSchedulingIgnoredDuringExecution"
	preferredPath = nodePath + "/preferredDuringSchedulingIgnoredDuringExecution"
)

// affinityOperations appends what changes the affinity. What is not there is made as
// one value; of what is there, only the lists that grow are written.
func (c *changes) affinityOperations(operations []Operation) []Operation {
	affinity := c.pod.Spec.Affinity
	switch {
	case !c.noTerms && !c.prefer:
	case affinity == nil:
		return append(operations, add(affinityPath, &corev1.Affinity{NodeAffinity: c.newNodeAffinity()}))
	case affinity.NodeAffinity == nil:
		return append(operations, add(nodePath, c.newNodeAffinity()))
	case c.noTerms:
		operations = append(operations, add(requiredPath, c.newNodeAffinity().RequiredDuringSchedulingIgnoredDuringExecution))
	case len(affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0:
		operations = append(operations, add(preferredPath, c.newNodeAffinity().PreferredDuringSchedulingIgnoredDuringExecution))
	default:
		operations = append(operations, add(preferredPath+"/-", c.preference()))
	}
	for _, i := range c.open {
		path := requiredPath + "/nodeSelectorTerms/" + strconv.Itoa(i) + "/matchExpressions"
		terms := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		if len(terms[i].MatchExpressions) == 0 {
			operations = append(operations, add(path, c.rules.requirements))
			continue
		}
		// One by one: to write the author's expressions again would lose what a newer API
		// server knows of them and we do not.
		path += "/-"
		for j := range c.rules.requirements {
			operations = append(operations, add(path, &c.rules.requirements[j]))
		}
	}
	return operations
}

func (c *changes) newNodeAffinity() *corev1.NodeAffinity {
	if c.prefer {
		return &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{c.preference()}}
	}
	return &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: c.rules.requirements}},
	}}
}

func (c *changes) preference() corev1.PreferredSchedulingTerm {
	return corev1.PreferredSchedulingTerm{
		Weight: preferenceWeight, Preference: corev1.NodeSelectorTerm{MatchExpressions: c.rules.requirements},
	}
}

// PatchJSON returns [Decision.Patch] as an admission response carries it; nil when
// there is nothing to do.
func (d Decision) PatchJSON() ([]byte, error) {
	operations := d.Patch()
	if operations == nil {
		return nil, nil
	}
	encoded, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("encoding the patch of a pod: %w", err)
	}
	return encoded, nil
}

// Apply returns a copy of the pod that was given to [Decide] as the patch leaves it.
func (d Decision) Apply(pod *corev1.Pod) *corev1.Pod {
	c, pod := &d.changes, pod.DeepCopy()
	if c.noTerms || c.prefer {
		if pod.Spec.Affinity == nil {
			pod.Spec.Affinity = &corev1.Affinity{}
		}
		if pod.Spec.Affinity.NodeAffinity == nil {
			pod.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
		}
		added, own := c.newNodeAffinity().DeepCopy(), pod.Spec.Affinity.NodeAffinity
		if c.noTerms {
			own.RequiredDuringSchedulingIgnoredDuringExecution = added.RequiredDuringSchedulingIgnoredDuringExecution
		}
		own.PreferredDuringSchedulingIgnoredDuringExecution = append(own.PreferredDuringSchedulingIgnoredDuringExecution,
			added.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	for _, i := range c.open {
		terms := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		added := corev1.NodeSelectorTerm{MatchExpressions: c.rules.requirements}
		terms[i].MatchExpressions = append(terms[i].MatchExpressions, added.DeepCopy().MatchExpressions...)
	}
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, c.tolerations...)
	if c.annotation != "" {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[DecisionAnnotation] = c.annotation
	}
	return pod
}
