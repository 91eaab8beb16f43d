package agentrun

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"strings"
)

// Options say which agent to run. All but Provider, Config and Args are required.
type Options struct {
	// Binary is the agent's program; see [Build] and [Binary].
	Binary string
	// Node is the node that the agent looks after.
	Node string
	// Kubeconfig is the path of a file that says how to reach the API server.
	Kubeconfig string
	// Provider is what the agent's file says of the cloud; empty means "aws". The agent is
	// given the fake in every cloud's place, also in those that it should not ask.
	Provider string
	// Endpoint is the fake metadata service: an http URL of a loopback address.
	// Any other is refused.
	Endpoint string
	// Dir is an existing folder for the agent's files. The caller removes it.
	Dir string
	// Config is laid over the agent's configuration file, in the file's own names:
	// {"drain": map[string]any{"volumeDetach": "2s"}}. It cannot name a provider or an
	// endpoint.
	Config map[string]any
	// Args are more flags, such as "--dry-run". They cannot name another file.
	Args []string
}

// check returns what keeps an agent from being started with o.
func (o Options) check() error {
	for name, value := range map[string]string{"Binary": o.Binary, "Node": o.Node, "Kubeconfig": o.Kubeconfig, "Dir": o.Dir} {
		if value == "" {
			return fmt.Errorf("checking options: %s is empty", name)
		}
	}
	for _, arg := range o.Args {
		// The file is where the endpoint stands.
		if name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "="); name == "config" {
			return fmt.Errorf("checking options: %q would replace the file that names the fake metadata service", arg)
		}
	}
	return checkEndpoint(o.Endpoint)
}

var errNotLoopback = errors.New("not an http URL of a loopback address")

// checkEndpoint lets nothing pass but an address that can only be this machine's: a
// name, even localhost, is what a resolver makes of it.
func checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" {
		return fmt.Errorf("checking endpoint %q: %w", endpoint, errNotLoopback)
	}
	address, err := netip.ParseAddr(u.Hostname())
	if err != nil || !address.IsLoopback() {
		return fmt.Errorf("checking endpoint %q: %w", endpoint, errNotLoopback)
	}
	return nil
}

// clouds are the groups of the agent's file that have an endpoint.
var clouds = []string{"aws", "gcp", "azure", "alibaba", "tencent"}

// config is what the agent's file says.
func (o Options) config() (map[string]any, error) {
	if _, named := o.Config["provider"]; named {
		return nil, errors.New("checking options: Config names the provider, which is an option by itself")
	}
	config := maps.Clone(o.Config)
	if config == nil {
		config = map[string]any{}
	}
	config["provider"] = cmp.Or(o.Provider, "aws")
	for _, cloud := range clouds {
		given, is := config[cloud].(map[string]any)
		if _, named := given["endpoint"]; named || config[cloud] != nil && !is {
			return nil, fmt.Errorf("checking options: Config may set fields of %q, but for the endpoint", cloud)
		}
		group := map[string]any{"endpoint": o.Endpoint}
		maps.Copy(group, given)
		config[cloud] = group
	}
	return config, nil
}
