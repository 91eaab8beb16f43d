// Package v1alpha1 holds the types of the API group placement.ebbtide.dev. It needs
// apimachinery and nothing else, so that a program can read policies without linking
// a client.
//
// +kubebuilder:object:generate=true
// +groupName=placement.ebbtide.dev
package v1alpha1
