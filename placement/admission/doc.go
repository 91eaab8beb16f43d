// Package admission keeps the policies in force without a webhook: it renders them to a
// MutatingAdmissionPolicy, which the API server evaluates by itself, and keeps that and
// its binding as the policies ask.
//
// A rendering is tried out before it is bound. An API server stores policies that then
// stand in the way of every pod, whatever their failurePolicy says: one whose patch makes
// something else than a pod is answered with an error 500. So each rendering is first
// bound under another name, narrowed to sample pods of its own, which are created as dry
// runs and have to come back as [placement.Decide] says. What is in force stays in force
// until the trial is passed.
//
// What it does not do: place pods by what there is on the nodes. No admission policy can
// see them; see [placement.Render].
package admission
