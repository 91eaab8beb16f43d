// Package stamptest is a fake of the metadata services of Alibaba Cloud and
// Tencent Cloud, for tests and for trying the agent by hand (the program in
// fakestamp serves it).
//
// On both, the item spot/termination-time answers 404 until a termination is
// announced, and then with its moment: in UTC on Alibaba Cloud, in UTC+8 and
// without a zone on Tencent Cloud. Alibaba Cloud's is in security hardening mode: a
// token is fetched by PUT with a lifetime of 1 to 21600 seconds, expires, and is
// asked for on every GET. Which statuses refuse a token is not documented; the
// fake answers as EC2's service does, whose protocol this is but for its names.
//
// Interrupt makes a notice readable, TakeBack removes it. SetFault puts a fault in
// the way, and each says by its Effect what a careful client can still see.
// EmptyBody is no fault on Alibaba Cloud, where an empty item says "none". What is
// no peculiarity of the two is that of package metadatatest, in whose frame it
// stands.
package stamptest
