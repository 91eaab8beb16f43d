// Package stamp watches the metadata services of Alibaba Cloud and Tencent Cloud
// for what either is about to do to this spot instance.
//
// Both tell it in the same simple way: an item that holds the moment of the
// termination, as one line of text, and that answers 404 while there is none.
// What differs is a table: where the service is, whether it wants a token, in
// which layout and zone the moment is written, and how long before it the notice
// comes. A third cloud of this kind is one more row.
//
// "No notice" and "cannot see" are different answers. A 404 says "no notice" only
// if the service has told the instance's id less than ten seconds ago and since the
// last fault, by the same token; that is the proof that a notice would be seen.
// Whatever is neither a moment nor like one is an error with its likely cause.
//
// Pacing, deadlines and ids are the business of package agent.
package stamp
