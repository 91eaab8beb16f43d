// Package programrun runs a program of this repository as a process of its own and
// shows what an operator could see of it: its log, its metrics and health, its exit
// code and its memory. It is what e2e/agentrun and e2e/placementrun have in common,
// and internal to them: they know what their programs must be given.
//
// A program has to take a configuration file by --config, to log by slog as JSON, and
// to say first of all where it serves metrics and health. It gets nothing of the
// user's environment: no proxy, no KUBECONFIG.
//
// On Linux a program dies with the process that started it, however that ends. Other
// systems have no such promise: there it outlives a starter that is killed before it
// could call [Program.Kill].
package programrun
