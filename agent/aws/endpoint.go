package aws

import (
	"fmt"
	"net/url"
)

// DefaultEndpoint is where every EC2 instance finds its metadata service, by
// the EC2 user guide, "Access instance metadata for an EC2 instance".
const DefaultEndpoint = "http://169.254.169.254"

// CheckEndpoint says what is wrong with an endpoint, nil if nothing is: it must
// be an http URL of a host and, if need be, a port. The metadata service has no
// https, and a path, query or fragment would be dropped without a word.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Scheme != "http" || u.Hostname() == "":
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
	case u.Path != "" && u.Path != "/":
	default:
		return nil
	}
	return fmt.Errorf("endpoint %q is not an http URL without a path, such as %q", endpoint, DefaultEndpoint)
}
