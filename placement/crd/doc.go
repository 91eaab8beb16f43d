// Package crd brings the CRD of the policies up to date. Helm installs it with the chart
// and never touches it again: a field that a new release of the program reads would be
// pruned from every policy for as long as nobody thinks of it.
//
// Which CRD is newer is told by a number, [Revision], that it carries in an annotation
// and that is raised with every change of it; a test holds the number to the content.
// Only what is older is replaced, so that the CRD outlives a rollback, and while two
// releases run side by side neither undoes what the other did. One without a number is
// older than any.
//
// The replicas of the release before go on meanwhile: their watches end and begin anew,
// which client-go does by itself. Two things are asked of whoever changes the API. A new
// version of it has to be served for one release before a program reads it, since
// nobody leads who does not know the policies. And the chart's own policies may use a
// new field one release after it has come, since Helm writes them before the CRD.
package crd
