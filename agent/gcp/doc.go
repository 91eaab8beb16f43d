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
// Deadlines and ids are the business of package agent.
package gcp
