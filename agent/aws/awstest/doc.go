// Package awstest is a fake of the EC2 instance metadata service, for tests and
// for trying the agent by hand (the program in fakeimds serves it).
//
// It speaks IMDSv2 as the real service does: a token is fetched by PUT with a
// lifetime of 1 to 21600 seconds, expires, and is asked for on every GET; a PUT
// that came through a proxy is refused; an item that is not there answers 404;
// replies carry the Date of the cloud's clock, which can be told to differ from
// ours; a connection serves one request. The layout of replies follows the EC2
// user guide, "Instance metadata and user data", "Spot Instance interruption
// notices", "EC2 instance rebalance recommendations" and "Scheduled events for Amazon
// EC2 instances", and the EC2 Auto Scaling user guide, "Retrieve the target lifecycle
// state through instance metadata".
//
// Interrupt makes a notice readable, TakeBack removes it; Rebalance, Schedule and Target
// do so for what the other items announce. SetFault puts one of
// Faults in the way, and each says by its Effect what a careful client can
// still see. Requests, Peak and Log show what a client asked for.
//
// What is no peculiarity of EC2 is that of package metadatatest, in whose frame it
// stands. It does not model the hop limit (HangingToken is what a client sees of it),
// IPv6, user data, identity documents, or roles and their credentials.
package awstest
