// Package gcp watches the Compute Engine metadata server for what Google Cloud
// is about to do to this instance: its preemption, the host maintenance that is
// about to begin, and the maintenance that is planned.
//
// Keys that give seconds of notice are read by long poll: the server holds the
// request until the key changes, so a notice arrives in milliseconds and an idle
// agent sends one request in five seconds. That a request returns proves nothing;
// only the value does. Each long poll ends well before a source that sees nothing
// must be called blind, what is not known yet is read at once, and a server that
// does not hold requests is asked no more than once a second.
//
// "No notice" and "cannot see" are different answers. Whoever answers must say
// that he is Google's server, and a 404 says "none" only of a key that is there on
// some instances alone, from a server that shows whether the instance is preempted.
// The metadata server of GKE shows pods neither; that is an error which says so.
//
// So each "none" has its proof that a notice would be seen: it is a value that the
// key must have, or it is a 404 (of planned maintenance, a 503 as well) and less
// than ten seconds ago the same server has shown the key of the preemption, which
// every instance has. A fault ends that trust.
//
// Deadlines and ids are the business of package agent.
package gcp
