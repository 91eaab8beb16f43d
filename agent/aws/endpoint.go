package aws

import (
	"regexp"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// Where an EC2 instance finds its metadata service, by the EC2 user guide, "Access
// instance metadata for an EC2 instance".
const (
	// DefaultEndpoint is there on every instance.
	DefaultEndpoint = "http://169.254.169.254"
	// IPv6Endpoint is there on Nitro instances for which it was switched on, and the
	// only one that a subnet without IPv4 has.
	IPv6Endpoint = "http://[fd00:ec2::254]"
)

// CheckEndpoint says what is wrong with an endpoint, nil if nothing is: see
// [metadata.CheckEndpoint].
func CheckEndpoint(endpoint string) error {
	return metadata.CheckEndpoint(endpoint, DefaultEndpoint)
}

// nodeID is a Node's providerID: the zone, which some leave empty, and the id of the
// instance.
var nodeID = regexp.MustCompile(`^aws://(?:/[^/]*)?/(i-[0-9a-f]+)$`)

// InstanceID is the id of the instance of a Node with that providerID, empty if it is
// no EC2 instance.
func InstanceID(providerID string) string {
	if parts := nodeID.FindStringSubmatch(providerID); parts != nil {
		return parts[1]
	}
	return ""
}
