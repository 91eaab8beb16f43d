// Package e2e holds the tests of whole programs, started as processes beside a real
// control plane (e2e/lab). The agent meets simulated nodes that can lose power and a
// fake metadata service (agent/aws/awstest, or that of another cloud); the placement
// program, an API server whose calls can go wrong in every way (e2e/placementrun). It
// holds no code but tests.
package e2e
