//go:build linux

package nodes

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/e2e/nodes/machine"
)

func twoNodes(t *testing.T) []*Node {
	t.Helper()
	nodes, err := plan(&stage{Dir: "/tmp/ebbtide-nodes-1"}, Options{Spot: 1, LongLived: 1})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func TestNodesShareNothing(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, n := range twoNodes(t) {
		for what, value := range map[string]string{
			"name": n.Name, "address": n.Address().String(), "instance": n.InstanceID(), "pods": podRange(n.host).String(),
			"user": n.user(), "group": n.group, "device": device(n.host), "folder": n.folder(),
		} {
			if other, taken := seen[what+value]; taken {
				t.Errorf("%s and %s share the %s %q", other, n.Name, what, value)
			}
			seen[what+value] = n.Name
		}
	}
	if _, err := plan(&stage{}, Options{Spot: maxNodes, LongLived: 1}); err == nil {
		t.Error("more nodes than addresses were planned")
	}
}

// A new machine with an old one's disk would find its containers there, and a test the logs
// of another.
func TestTheNodesOfTwoClustersShareNoDisk(t *testing.T) {
	t.Parallel()
	s := &stage{Dir: "/tmp/ebbtide-nodes-1"}
	seen := map[string]bool{}
	for range 2 {
		s.clusters++
		nodes, err := plan(s, Options{Spot: 1, LongLived: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			seen[n.folder("root")] = true
		}
	}
	if len(seen) != 4 {
		t.Errorf("4 nodes have the disks %v", seen)
	}
}

func TestANodeHasRoutesToTheOthersPodsAndServicesOnly(t *testing.T) {
	t.Parallel()
	got := routes(12, []int{11, 12, 13})
	want := []machine.Route{
		{To: netip.MustParsePrefix("10.96.0.0/16"), Via: netip.MustParseAddr("10.200.0.1")},
		{To: netip.MustParsePrefix("10.88.11.0/24"), Via: netip.MustParseAddr("10.200.0.11")},
		{To: netip.MustParsePrefix("10.88.13.0/24"), Via: netip.MustParseAddr("10.200.0.13")},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestSettingsAreWellFormed(t *testing.T) {
	t.Parallel()
	n := twoNodes(t)[0]
	files := n.settings("/usr/lib/cni", "overlayfs", []byte("a"), []byte("b"))
	want := []string{
		"cni/10-pods.conflist", "containerd.toml", "kube-proxy.kubeconfig", "kube-proxy.yaml", "kubelet.kubeconfig", "kubelet.yaml",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	var kubelet struct{ CgroupRoot, ProviderID, Kind string }
	if err := yaml.Unmarshal(files["kubelet.yaml"], &kubelet); err != nil {
		t.Error(err)
	}
	if kubelet.CgroupRoot != "/ebbtide-nodes-1/spot-1" || kubelet.ProviderID != n.providerID() {
		t.Errorf("kubelet: %+v", kubelet)
	}
	var proxy struct{ HostnameOverride string }
	if err := yaml.Unmarshal(files["kube-proxy.yaml"], &proxy); err != nil || proxy.HostnameOverride != n.Name {
		t.Errorf("kube-proxy: %+v, %v", proxy, err)
	}
	var network struct {
		Plugins []struct {
			IPAM struct{ Ranges [][]struct{ Subnet string } }
		}
	}
	if err := json.Unmarshal(files["cni/10-pods.conflist"], &network); err != nil {
		t.Fatal(err)
	}
	if got := network.Plugins[0].IPAM.Ranges[0][0].Subnet; got != podRange(n.host).String() {
		t.Errorf("pods are given addresses of %s, want %s", got, podRange(n.host))
	}
}

func TestLayersAreCopiedOnlyWithoutAnOverlay(t *testing.T) {
	t.Parallel()
	for filesystems, want := range map[string]string{
		"nodev\tproc\n\text4\nnodev\toverlay\n": "overlayfs",
		"nodev\tproc\n\text4\n":                 "native",
		"nodev\toverlayish\n":                   "native",
		"":                                      "native",
	} {
		if got := snapshotter(filesystems); got != want {
			t.Errorf("with %q: %s, want %s", filesystems, got, want)
		}
	}
}

func TestOnlyAMachinesDiskIsSeenFromOutside(t *testing.T) {
	t.Parallel()
	config := machine.Config{Root: "/tmp/x"}
	for path, want := range map[string]string{
		"/var/log/pods": "/tmp/x/var/log/pods", "/run": "/tmp/x/run", "/usr/bin": "", "/proc/1": "", "/var/../etc": "",
	} {
		if got, err := config.Outside(path); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q outside, %v, want %q", path, got, err, want)
		}
	}
}
