// Package drill lets somebody on the agent's own node order a drill and follow it: over
// a socket in a folder of the agent's pod, which nobody but the agent's own user can
// open. Whoever may run a program in that pod may order one; the cluster's permissions
// decide about that, and no port is open for it.
//
// The agent does the work. A client that goes away changes nothing, and another one
// sees the same drill from its beginning.
package drill
