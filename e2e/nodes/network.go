//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os/exec"
	"strconv"

	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/e2e/nodes/machine"
)

// The addresses of a cluster. Its network has no outside, so they can meet nobody else's.
const (
	bridge       = "nodes0"
	firstExtra   = 2  // machines that are no nodes come before
	firstHost    = 11 // node i has the address and the pod range of this number and i
	controlPort  = 1339
	clusterRange = "10.88.0.0/16"
	// serviceRange is what e2e/lab tells the API server.
	serviceRange = "10.96.0.0/16"
	dnsAddress   = "10.96.0.10"
)

// controlPlane is where the API server listens: on the bridge that joins the nodes.
var controlPlane = netip.AddrFrom4([4]byte{10, 200, 0, 1})

func hostAddress(host int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 200, 0, byte(host)}) //nolint:gosec // Start bounds the nodes.
}

func podRange(host int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 88, byte(host), 0}), 24) //nolint:gosec // Start bounds the nodes.
}

func hostPrefix(address netip.Addr) netip.Prefix { return netip.PrefixFrom(address, 24) }

// metadataAddress is where the agent looks for the metadata service unless it is told
// otherwise, and it is not told otherwise here.
func metadataAddress() (netip.Addr, error) {
	endpoint, err := url.Parse(aws.DefaultEndpoint)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reading the default endpoint: %w", err)
	}
	address, err := netip.ParseAddr(endpoint.Hostname())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reading the default endpoint: %w", err)
	}
	return address, nil
}

// layBridge joins the nodes and the control plane, and leads the control plane to pods:
// the API server calls a webhook at its pod's own address.
func layBridge(ctx context.Context, hosts []int) error {
	commands := [][]string{
		{"link", "add", bridge, "type", "bridge"},
		{"addr", "add", hostPrefix(controlPlane).String(), "dev", bridge},
		{"link", "set", bridge, "up"},
	}
	for _, host := range hosts {
		commands = append(commands, []string{"route", "add", podRange(host).String(), "via", hostAddress(host).String()})
	}
	for _, command := range commands {
		if err := ip(ctx, command...); err != nil {
			_ = removeBridge() // there is none if the first command went wrong
			return fmt.Errorf("laying the bridge: %w", err)
		}
	}
	return nil
}

func removeBridge() error { return removeDevice(bridge) }

// device is the outer end of a node's cable.
func device(host int) string { return "node" + strconv.Itoa(host) }

// plug lays a cable from the bridge into the network namespace of a process, where it
// is eth0.
func plug(ctx context.Context, host, pid int) error {
	err := ip(ctx, "link", "add", device(host), "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(pid))
	if err == nil {
		err = ip(ctx, "link", "set", device(host), "master", bridge, "up")
	}
	if err != nil {
		return fmt.Errorf("connecting node %d: %w", host, err)
	}
	return nil
}

// unplug takes the cable away, both ends of it.
func unplug(host int) error { return removeDevice(device(host)) }

// removeDevice takes no context: what takes things away is not to be called off.
func removeDevice(name string) error {
	program, err := exec.LookPath("ip")
	if err != nil {
		return fmt.Errorf("removing network device %q: %w", name, err)
	}
	command := &exec.Cmd{Path: program, Args: []string{"ip", "link", "del", name}}
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("removing network device %q: %w: %s", name, err, lastLine(out))
	}
	return nil
}

// routes lead a node to the pods of all others, and to Services. The latter is never
// taken: kube-proxy gives the packets another destination; but without any route the
// kernel refuses them before kube-proxy's rules see them.
func routes(host int, all []int) []machine.Route {
	list := []machine.Route{{To: netip.MustParsePrefix(serviceRange), Via: controlPlane}}
	for _, other := range all {
		if other != host {
			list = append(list, machine.Route{To: podRange(other), Via: hostAddress(other)})
		}
	}
	return list
}

var errTooMany = errors.New("more nodes than addresses")
