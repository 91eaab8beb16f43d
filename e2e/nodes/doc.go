// Package nodes runs a real Kubernetes of several nodes on one Linux machine, as root:
// each node has its own containerd, kubelet, kube-proxy, disk and network, and a
// metadata service of a cloud that it can be told to announce an interruption through.
// Ebbtide is installed on it as users install it, and nodes are taken away as a cloud
// takes them.
//
//	func TestMain(m *testing.M) { nodes.Main(m, nodes.Preparation{}) }
//
//	func TestX(t *testing.T) {
//		cluster, err := nodes.Start(t.Context(), nodes.Options{Spot: 3, LongLived: 2})
//
// # A network without an outside
//
// [Main] installs and builds what is needed, and then moves the whole test process
// into a network namespace of its own, in which everything that it starts lives too.
// That network is not connected to anything. What runs here cannot reach the internet,
// a registry, or the metadata service of the cloud that the machine itself may run in,
// whatever mistake a test makes; and the machine's own addresses, routes and firewall
// are never touched.
//
// # Machines
//
// A node is a set of namespaces with a first process of ours (package machine). When
// that process ends, the kernel ends all others of the node at once: [Node.Die] is a
// power cut. It ends by itself when its standard input does, so no node outlives the
// test process, not even one that is killed. What the kernel does not clear, the state
// folder and the control groups, is cleared by a small process that waits for the same
// event, and by the next run if that one was killed too.
package nodes
