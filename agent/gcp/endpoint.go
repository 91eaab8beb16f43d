package gcp

import "github.com/ebbtide/ebbtide/agent/metadata"

// DefaultEndpoint is where every Compute Engine instance finds its metadata
// server, by its documentation, "About VM metadata". The address stands in for
// metadata.google.internal, so that no notice waits for DNS.
const DefaultEndpoint = "http://169.254.169.254"

// CheckEndpoint says what is wrong with an endpoint, nil if nothing is: see
// [metadata.CheckEndpoint].
func CheckEndpoint(endpoint string) error {
	return metadata.CheckEndpoint(endpoint, DefaultEndpoint)
}
