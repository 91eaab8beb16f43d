// Package provider tells from a Node's providerID in which cloud its machine runs.
// Asking the metadata services of one cloud after the other would tell it, too; but at
// the address that is one cloud's, another network has a stranger.
package provider

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The providers, as the configuration and labels name them.
const (
	AWS     = "aws"
	GCP     = "gcp"
	Azure   = "azure"
	Alibaba = "alibaba"
	Tencent = "tencent"
	// None is any place where a machine itself is told nothing of its end.
	None = "none"
)

// All are the providers; those whose machines are told of their end come first.
var All = []string{AWS, GCP, Azure, Alibaba, Tencent, None}

// schemes are those by which the clouds' controller managers begin a providerID.
// Tencent's has had two.
var schemes = map[string]string{
	"aws": AWS, "gce": GCP, "azure": Azure, "alicloud": Alibaba, "qcloud": Tencent, "tencentcloud": Tencent,
}

// bareAlibaba is a providerID as the controller manager of Alibaba Cloud writes it on
// its own nodes: region and instance, and no scheme.
var bareAlibaba = regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)+\.i-[a-z0-9]+$`)

// silent are clouds of which it is known that no item of their metadata services
// announces an end. IBM and Oracle do announce one, through their APIs alone.
var silent = map[string]string{
	"digitalocean": "DigitalOcean", "ibm": "IBM Cloud", "linode": "Linode", "oci": "Oracle Cloud",
}

// bareOracle is how a providerID begins that is an Oracle instance's own id.
const bareOracle = "ocid1."

// Found is what a providerID tells.
type Found struct {
	// Provider is one of All.
	Provider string
	// Why says how None came about, and what can be done; empty otherwise.
	Why string
}

// ErrNoID means that there is no providerID. A cloud's controller manager may give a
// new node one some time after it has joined.
var ErrNoID = errors.New("the node has no spec.providerID, by which its cloud is found: the cloud's controller manager sets it; " +
	"where there is none, name the provider in the configuration, or none")

// Of says where the machine runs whose Node has this providerID. The error is ErrNoID.
func Of(providerID string) (Found, error) {
	if providerID == "" {
		return Found{}, ErrNoID
	}
	scheme, _, has := strings.Cut(providerID, "://")
	switch {
	case has && schemes[scheme] != "":
		return Found{Provider: schemes[scheme]}, nil
	case bareAlibaba.MatchString(providerID):
		return Found{Provider: Alibaba}, nil
	case strings.HasPrefix(providerID, bareOracle):
		scheme = "oci"
	case !has:
		scheme = ""
	}
	if name := silent[scheme]; name != "" {
		return Found{None, name + " tells a machine nothing of its end"}, nil
	}
	return Found{None, fmt.Sprintf("the node's providerID is that of none of %s; where the machine is one of theirs all the same, "+
		"name the provider in the configuration", strings.Join(slices.DeleteFunc(slices.Clone(All), isNone), ", "))}, nil
}

func isNone(provider string) bool { return provider == None }
