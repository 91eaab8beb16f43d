// Package azure watches Azure's Scheduled Events for what the cloud is about to
// do to this machine.
//
// An event is announced to every machine of a scale set or availability set, so
// only those count that name this machine. Azure never says that an event is
// done or was cancelled: it takes it off the list. Of the half minute that Azure
// documents before an eviction, ten seconds are counted on.
//
// "No notice" and "cannot see" are different answers. Only a list that could be
// read says "no notice", and only when it is known which machine this is.
//
// The service sleeps until it is first asked, and may take two minutes to wake
// up. That first question is asked in the background, as [ScheduledEvents.Poll]
// explains.
//
// The facts are those of Microsoft's pages "Azure Metadata Service: Scheduled
// Events for Linux VMs" and "Azure Instance Metadata Service".
//
// Pacing, deadlines and ids are the business of package agent.
package azure
