package drain

// The keys that Ebbtide writes to nodes and pods. Everything is undone by these
// names and by nothing else.
const (
	prefix = "ebbtide.dev/"

	// StateAnnotation on a Node holds its [State] as JSON.
	StateAnnotation = prefix + "interruption"
	// TaintKey keeps pods off the node; its value is the kind of notice.
	TaintKey = prefix + "interruption"
	// ExcludeLabel takes a node out of external load balancers. The key is
	// Kubernetes' own (KEP-1143); its presence counts, not its value.
	ExcludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers"
	// FieldManager is the name under which the API server records our writes.
	FieldManager = "ebbtide-agent"
)
