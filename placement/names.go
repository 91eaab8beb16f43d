package placement

// The keys that placement reads and writes on pods, and reads on nodes.
const (
	prefix = "ebbtide.dev/"

	// OverrideAnnotation on a pod (that is, on the template of its workload) is its
	// author's word against every policy: [OverrideLongLived] or [OverrideAny]. Empty
	// is as if it were not there; any other value is ignored, and the [Decision] says so.
	OverrideAnnotation = prefix + "placement"
	// DecisionAnnotation on a pod holds its [Record] as JSON.
	DecisionAnnotation = prefix + "placement-decision"

	// interruptionTaint is the key of the taint that agents put on nodes.
	interruptionTaint = prefix + "interruption"
)

// The values of [OverrideAnnotation].
const (
	// OverrideLongLived asks for long-lived nodes. The policy that matches says how
	// firmly; without one it is as a policy with the mode Auto and a fixed pool says.
	OverrideLongLived = "long-lived"
	// OverrideAny leaves the pod as its author wrote it.
	OverrideAny = "any"
)
