// Package placementrun runs the placement program as a process, in as many replicas as
// a test or a benchmark wants, beside a control plane of e2e/lab.
//
// [Install] makes what the chart makes in a cluster. [Installation.Start] starts a
// replica with no more rights than it needs. The [Front] stands between the API server
// and the replicas as a Service does in a cluster, and can be given a [Fault], so that
// a test can break what the API server calls while the program goes on, and mend it.
//
// A replica gets nothing of the user's environment and listens on loopback only. On
// Linux it dies with the process that started it; see e2e/internal/programrun.
package placementrun
