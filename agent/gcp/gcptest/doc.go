// Package gcptest is a fake of the Compute Engine metadata server, for tests and
// for trying the agent by hand (the program in fakeimds serves it).
//
// It answers under /computeMetadata/v1/instance/ whoever sends the header
// Metadata-Flavor: Google and did not come through a proxy, marks its replies with
// the same header and with an ETag that stands for the value, holds a request that
// waits for a change, and answers it with the present value when timeout_sec is
// over. What is not there is a 404. The layout follows Compute Engine's
// documentation, "About VM metadata" and the pages on Spot VMs and host maintenance.
//
// Preempt, Maintain and Plan make a notice readable; TakeBack, EndMaintenance and
// Unplan remove it, the first of which the real server never does. SetFault puts
// one of the Faults in the way: besides those of package metadatatest, in whose
// frame it stands, there are a server that hides keys as GKE's does, one that does
// not hold requests, and others.
//
// It does not model attributes, service accounts and their tokens, or waiting for
// a change of a folder.
package gcptest
