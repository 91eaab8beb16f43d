package aws

import "github.com/ebbtide/ebbtide/agent/metadata"

// DefaultEndpoint is where every EC2 instance finds its metadata service, by
// the EC2 user guide, "Access instance metadata for an EC2 instance".
const DefaultEndpoint = "http://169.254.169.254"

// CheckEndpoint says what is wrong with an endpoint, nil if nothing is: see
// [metadata.CheckEndpoint].
func CheckEndpoint(endpoint string) error {
	return metadata.CheckEndpoint(endpoint, DefaultEndpoint)
}
