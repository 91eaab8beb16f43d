// Package azuretest is a fake of Azure's metadata service, as far as Scheduled
// Events go, for tests and for trying the agent by hand (the program in fakeimds
// serves it).
//
// It speaks version 2020-07-01 of Scheduled Events as Microsoft's page on them has
// it: a GET gives the list of events with its incarnation, a POST with
// StartRequests starts events early; a request without the header Metadata, or with
// X-Forwarded-For, or without a version, answers 400; refusals are JSON documents
// with an "error". The item compute/name tells the name of the machine. Times go by
// the cloud's clock, which can be told to differ from ours.
//
// Schedule puts an event on the list, Begin lets it start, Remove takes it off.
// Options.Asleep and FallAsleep keep the
// list back, as a service does that wakes up. SetFault puts
// one of the faults in the way that [Server.Faults] lists.
//
// What is no peculiarity of Azure is that of package metadatatest, in whose frame
// it stands. It does not fall asleep by itself, and does not count requests to throttle them (TooManyRequests is what a client sees of that).
package azuretest
