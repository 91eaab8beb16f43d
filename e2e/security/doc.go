// Package security holds the tests of what an agent's token is worth: the chart's roles
// and admission policies on a real API server, asked with the token of a real agent's
// pod, and the real agent, which they must not hinder. What a thief tries is in package
// stolen; here is no code but tests.
package security
