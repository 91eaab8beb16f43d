// Package e2e holds the tests of whole agents: the real program, started as a
// process, beside a real control plane (e2e/lab), simulated nodes that can lose
// power, and a fake metadata service (agent/aws/awstest). It holds no code but
// tests.
package e2e
