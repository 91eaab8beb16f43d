// Package lab runs a real Kubernetes control plane (etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler) on loopback, without root and without
// containers, and simulated nodes that can lose power. Tests, the demo and the
// benchmark share it; it uses client-go only, so that any package's tests can.
//
// # Control plane
//
// [Binary] builds the components from Go modules once per version and caches the
// result. [Start] runs them on free ports; several labs live side by side. Each
// component can be stopped, paused and started again, because what a drain does
// while the API server is away is worth a test. In tests, use [Main] and [Shared]
// (one lab for the whole test binary), or [New] where the test breaks components.
//
// Nothing stays behind. A component lives as long as its standard input is open,
// and only the lab's process holds the other end: when that process ends, even by
// SIGKILL, the kernel closes the pipes, the components exit, and a small shell that
// waits on a pipe of the same kind removes the state folder.
//
// # Simulated nodes
//
// [Lab.AddNode] adds a node that is run by a small kubelet in this process. It is
// our own because kwok, the usual choice, can neither take a node away together
// with its pods nor say afterwards what became of each pod, which is the one
// question that every test of Ebbtide asks. Nothing runs on such a node; the pods'
// life is told by their annotations (see [ReadyAfter], [CompletesAfter] and
// [ExitsAfter]) and follows the kubelet's rules: SIGTERM comes when the watch
// shows the deletion, the first grace period is final, and the pod leaves the API
// only by the node's own DELETE with grace 0.
//
// The truth about a pod is kept on the node's side, not in the API: [Lab.Records]
// says when each pod was told to stop, and whether it exited by itself, was killed
// at the end of its grace, or was lost with its machine.
package lab
