// Package agentrun runs the agent's real program as a process of its own, for tests,
// the demo and the benchmark, and shows what an operator could see of it: its log,
// its metrics and health, its exit code and its memory.
//
// It is the only way in which this repository starts the agent. It insists on a
// metadata service on loopback, so that no test can ask the machine's real one, and
// it gives the agent nothing of the user's environment: no proxy, no KUBECONFIG. What
// it has in common with e2e/placementrun is in e2e/internal/programrun.
//
// On Linux an agent dies with the process that started it, however that ends. Other
// systems have no such promise: there an agent outlives a starter that is killed
// before it could call Kill.
package agentrun
