// Package aws watches the EC2 instance metadata service for what AWS is about
// to do to this instance: interrupt it (spot), advise to leave it (rebalance),
// maintain it or its host (maintenance), or scale it in (lifecycle).
//
// It speaks IMDSv2 by the client of aws-sdk-go-v2, which sends its requests by that of
// package metadata, and never falls back to IMDSv1 unless told to. The four items share one client: one token, one
// connection where the service keeps it, and one budget of requests, which all of
// them keep to together, whatever happens. The interruption notice has two minutes
// at most and is asked for first; the other items wait for what it leaves, and
// while the service throttles they hardly ask at all. Nothing that one poll met is held
// against the next of the interruption notice: the poll after a fault sees what
// there is to see.
//
// "No notice" and "cannot see" are different answers. Only a 404 from a service
// that has told this instance's id less than ten seconds ago and since the last
// fault says "no notice"; that is the proof that a notice would be seen. Everything
// that is not an answer is an error with its likely cause.
//
// Pacing, deadlines and ids are the business of package agent.
package aws
