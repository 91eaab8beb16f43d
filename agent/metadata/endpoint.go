package metadata

import (
	"fmt"
	"net/url"
)

// CheckEndpoint says what is wrong with an endpoint, nil if nothing is: it must
// be an http URL of a host and, if need be, a port. No metadata service has
// https, and a path, query or fragment would be dropped without a word. The error
// shows such as an example.
func CheckEndpoint(endpoint, such string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Scheme != "http" || u.Hostname() == "":
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
	case u.Path != "" && u.Path != "/":
	default:
		return nil
	}
	return fmt.Errorf("endpoint %q is not an http URL without a path, such as %q", endpoint, such)
}
