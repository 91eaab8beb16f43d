package drain

// The keys that Ebbtide writes to nodes and pods. Everything is undone by these
// names and by nothing else.
const (
	prefix = "ebbtide.dev/"

	// StateAnnotation on a Node holds its [State] as JSON.
	StateAnnotation = prefix + "interruption"
	// TaintKey keeps pods off the node; its value is the kind of notice.
	TaintKey = prefix + "interruption"
	// WaitAnnotation on a pod, with the value "true", asks to be left running
	// until its latest moment, in the hope that it completes.
	WaitAnnotation = prefix + "wait-for-completion"
	// CriticalAnnotation on a pod is its author's word on whether an advice moves it,
	// "true" or "false"; see [Selection].
	CriticalAnnotation = prefix + "critical"
	// DeadlineAnnotation on a pod, with whatever value, asks to be told when the
	// machine may die: its value becomes that moment as RFC 3339 in UTC, before
	// the pod is told to stop. A downward-API volume shows it to the containers.
	DeadlineAnnotation = prefix + "deadline"
	// ExcludeLabel takes a node out of external load balancers. The key is
	// Kubernetes' own (KEP-1143); its presence counts, not its value.
	ExcludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers"
	// HandOverAnnotation on a Pod is its author's [HandOverPolicy].
	HandOverAnnotation = prefix + "hand-over"
	// HandedOverKey marks a pod that is handed over: as a label, by which such
	// pods are counted, with the pod-template-hash that was taken off; as an
	// annotation with the [HandOver] as JSON.
	HandedOverKey = prefix + "handed-over"
	// DeletionCostAnnotation on a pod that was taken back holds its own
	// pod-deletion-cost, empty for none, while ours stands in its place.
	DeletionCostAnnotation = prefix + "deletion-cost"
	// FieldManager is the name under which the API server records our writes.
	FieldManager = "ebbtide-agent"
)

// RescueNotice stands in a [HandOver] in the place of a notice where it was no
// interruption that the pod was handed over for: placement moves it to a better node.
// Drains leave it to whoever began it, and rescues leave the hand-overs of drains.
const RescueNotice = "placement-rescue"
