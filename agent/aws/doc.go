// Package aws watches the EC2 instance metadata service for what AWS is about
// to do to this instance.
//
// It speaks IMDSv2 through the AWS SDK's client on the transport of package
// metadata, and closes what that client leaves open for a poller: it never falls
// back to IMDSv1 unless told to, never goes through a proxy, never retries by
// itself, never waits longer than a second, and takes nothing from the AWS_*
// variables of the environment. Nothing that one poll met is held against the
// next: the poll after a fault sees what there is to see.
//
// "No notice" and "cannot see" are different answers. Only a 404 from a service
// that is known to answer other items says "no notice"; everything that is not
// an answer is an error with its likely cause.
//
// Pacing, deadlines and ids are the business of package agent.
package aws
