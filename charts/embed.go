// Package charts holds what the programs need of the chart's files. It stands above the
// chart, which is packed without it.
package charts

import _ "embed"

// PlacementPolicies is the CRD of the policies as Helm installs it, in YAML.
//
//go:embed ebbtide/crds/placement.ebbtide.dev_placementpolicies.yaml
var PlacementPolicies string
