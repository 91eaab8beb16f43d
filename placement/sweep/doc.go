// Package sweep takes back what drains, and advices, have left on nodes and pods whose
// agent will not: the cordon, taint, label and annotation of a node, and the hand-overs
// of its pods.
//
// An agent undoes its own work, and the next agent of the node that of one before it.
// Where no agent comes back, since the DaemonSet leaves the node out by now, or is not
// installed any more, nobody would: the node stays closed for good. [Find] finds what is
// left, [Judge] says of which nodes nobody will look after it, and [Undoer] takes it
// back. [Sweeper] does so again and again, on the replica that leads.
//
// What it does not do: touch a node whose state it cannot read, which another version
// has written; or a cordon without that state, which is somebody else's.
package sweep
