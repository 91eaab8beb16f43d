// Package certificate keeps the webhook's serving certificate and the caBundle by
// which the API server verifies it in step, through every rotation.
//
// A CA of our own signs short serving certificates; both lie in one Secret that all
// replicas share, and are served from memory. A CA is replaced in three writes, each
// of them a state that may last for as long as it has to:
//
//  1. Announced: the new CA is in the Secret beside the one that signs, and so goes
//     into the caBundle. Nothing is signed by it.
//  2. Switched: once the caBundle has held the new CA for [Periods.Settle], so that
//     every API server has seen it, the new CA signs. The old one stays in ca.crt.
//  3. The old CA leaves ca.crt and the caBundle when it expires. No certificate
//     outlives the CA that signed it, so nobody can still be serving one by then,
//     however far behind its watch is.
//
// There is no leader. Any replica may take any step, and the resourceVersion of what
// it looked at decides whether it does: of two that rotate at once, the API server
// takes one Secret, and the other replica finds that the step is done. The caBundle
// is written under the same kind of lock, and a CA is taken out of it only on a
// Secret that was read after the configuration: a replica that is behind can put a
// CA back, and can never take one away that somebody serves.
//
// What each replica serves is its own decision: it holds on to what verifies until
// the Secret's certificate does too, for Settle. This is what covers the cases that
// no protocol between the replicas can: a Secret that was emptied, a caBundle that
// was edited by hand, a given Secret that changed its CA from one moment to the next.
//
// [Keeper] does no more than carry out what the function next says, which takes what
// is known and the time, and is pure.
package certificate
