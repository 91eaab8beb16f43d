//go:build linux

package nodes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/ebbtide/ebbtide/e2e/nodes/machine"
)

// Node is a machine that runs pods.
type Node struct {
	*Machine
	// Spot says what the machine's labels say.
	Spot bool

	group  string // the control group of its pods
	keeper *keeper
}

// The services of a node. Their logs are on its disk, at /var/log/NAME.log.
const (
	containerdService = "containerd"
	kubeletService    = "kubelet"
	proxyService      = "kube-proxy"
	metadataService   = "metadata"
)

func newNode(s *stage, name string, host int, spot bool) *Node {
	n := &Node{Machine: newMachine(s, name, host), Spot: spot, group: s.group() + "/" + name}
	n.cleanUp = func() error { return errors.Join(n.keeper.stop(), removeGroup(n.group)) }
	return n
}

// InstanceID is what the node's cloud calls the machine.
func (n *Node) InstanceID() string { return fmt.Sprintf("i-0ebb71de%09x", n.host) }

func (n *Node) providerID() string { return "aws:///" + zone + "/" + n.InstanceID() }

const zone = "eu-west-1a"

func (n *Node) user() string { return "system:node:" + n.Name }

// labels are those by which providers tell spot machines from others.
func (n *Node) labels() string {
	capacity := "on-demand"
	if n.Spot {
		capacity = "spot"
	}
	return "karpenter.sh/capacity-type=" + capacity + ",topology.kubernetes.io/zone=" + zone + ",node.kubernetes.io/instance-type=m7i.large"
}

// start starts the machine and its services. It does not wait for the node to be Ready.
func (n *Node) start(ctx context.Context, hosts []int, kubelet, proxy []byte) error {
	plugins, err := pluginFolder()
	if err != nil {
		return err
	}
	filesystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return fmt.Errorf("reading file systems: %w", err)
	}
	layers := snapshotter(string(filesystems))
	services, err := n.services(layers)
	if err != nil {
		return err
	}
	files := n.settings(plugins, layers, kubelet, proxy)
	binds := map[string]string{kubeFolder: n.stage.Kube, imagesFolder: n.stage.images()}
	if err := n.layOut(services, files, routes(n.host, hosts), binds); err != nil {
		return err
	}
	if n.config.Metadata, err = metadataAddress(); err != nil {
		return err
	}
	if err := createGroup(n.group); err != nil {
		return err
	}
	if n.keeper, err = n.keepLogs(); err != nil {
		return err
	}
	if err := n.Machine.start(ctx); err != nil {
		return err
	}
	return n.describe(ctx)
}

// services are what the node runs. The images come in before the kubelet can miss one.
func (n *Node) services(layers string) ([]machine.Service, error) {
	metadata, err := metadataAddress()
	if err != nil {
		return nil, err
	}
	archives, err := filepath.Glob(filepath.Join(n.stage.images(), "*.tar"))
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	var imports [][]string
	for _, archive := range archives {
		imports = append(imports, []string{
			"ctr", "--address", containerdSocket, "--namespace", "k8s.io", "images", "import", "--snapshotter", layers,
			filepath.Join(imagesFolder, filepath.Base(archive)),
		})
	}
	kube := filepath.Join(kubeFolder, "ebbtide-lab-node")
	file := func(name string) string { return filepath.Join(settingsFolder, name) }
	return []machine.Service{
		{Name: metadataService, Args: []string{
			filepath.Join(programsFolder, "fakeimds"), "--allow-non-loopback",
			"--listen", netip.AddrPortFrom(metadata, 80).String(), "--control", n.control(),
		}},
		{Name: containerdService, Args: []string{"containerd", "--config", file("containerd.toml")}, Socket: containerdSocket, Then: imports},
		{Name: kubeletService, Args: []string{
			kube, "kubelet", "--config=" + file("kubelet.yaml"), "--kubeconfig=" + file("kubelet.kubeconfig"),
			"--hostname-override=" + n.Name, "--node-ip=" + n.Address().String(), "--node-labels=" + n.labels(),
		}},
		{Name: proxyService, Args: []string{kube, "kube-proxy", "--config=" + file("kube-proxy.yaml")}},
	}, nil
}

// RestartKubelet does what "systemctl restart kubelet" does. Pods go on meanwhile.
func (n *Node) RestartKubelet(ctx context.Context) error {
	if err := n.tell(ctx, "restart "+kubeletService); err != nil {
		return fmt.Errorf("restarting the kubelet of %q: %w", n.Name, err)
	}
	return nil
}
