// Package azure watches Azure's Scheduled Events for what the cloud is about to
// do to this machine.
//
// An event is announced to every machine of a scale set or availability set, so
// only those count that name this machine. Azure never says that an event is
// done or was cancelled: it takes it off the list. Of the half minute that Azure
// documents before an eviction, ten seconds are counted on.
//
// "No notice" and "cannot see" are different answers. Only a list that could be
// read says "no notice", and only of a service that has told this machine's name
// within five minutes and since the last fault. That is the proof that a notice
// would be seen: each poll shows that the service tells of events, and every five
// minutes it shows whose they are. A page, a document without a list, the list of
// another machine and every refusal are errors with their likely cause.
//
// The service allows five requests a second to all programs of a machine. A poll
// sends one, and is not repeated sooner when it is refused, so that being throttled
// or updated (429, 410) changes nothing: what refuses is asked once a second, since
// a longer pause would cost more of ten seconds than it could save.
//
// The service sleeps until it is first asked, and may take two minutes to wake
// up. That first question is asked in the background, as [ScheduledEvents.Poll]
// explains; an agent is ready meanwhile, if the service tells the machine's name.
//
// The facts are those of Microsoft's pages "Azure Metadata Service: Scheduled
// Events for Linux VMs" and "Azure Instance Metadata Service".
//
// Pacing, deadlines and ids are the business of package agent.
package azure
