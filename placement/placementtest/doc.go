// Package placementtest holds what the tests of package placement, of the packages
// under it and of the programs around them would otherwise repeat: pods and policies
// read from YAML, a cluster's worth of policies, the CRD on a lab, waiting for a state,
// and reading a metric.
//
// Whatever goes wrong in a function that takes a [testing.TB] ends the test. The
// package does not import placement, whose own tests use it.
package placementtest
