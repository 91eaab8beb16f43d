//go:build linux

package nodes

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/e2e/nodes/machine"
)

// Node is a machine of a cluster.
type Node struct {
	// Name is the Node object's. Spot says what the machine's labels say.
	Name string
	Spot bool

	host   int
	group  string // the control group of its pods
	stage  *stage
	config machine.Config

	talking sync.Mutex // one command at a time
	command *exec.Cmd
	stdin   io.WriteCloser
	answers *bufio.Reader
	keeper  *keeper

	dying  sync.Once
	death  error
	gone   chan struct{} // closed when the machine is gone
	diedAt time.Time
}

// The services of a node, by the names that RestartKubelet and the log files use.
const (
	containerdService = "containerd"
	kubeletService    = "kubelet"
	proxyService      = "kube-proxy"
	metadataService   = "metadata"
)

// Address is where the other nodes and this process reach the node.
func (n *Node) Address() netip.Addr { return hostAddress(n.host) }

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

func (n *Node) folder(elements ...string) string {
	return n.stage.path(append([]string{"nodes", n.Name}, elements...)...)
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
	if n.config, err = n.machine(hosts, layers); err != nil {
		return err
	}
	settings, err := n.config.Outside(settingsFolder)
	if err != nil {
		return err
	}
	if err := writeSettings(settings, n.settings(plugins, layers, kubelet, proxy)); err != nil {
		return err
	}
	if err := createGroup(n.group); err != nil {
		return err
	}
	if err := n.powerOn(ctx); err != nil {
		return err
	}
	if n.keeper, err = n.keepLogs(); err != nil {
		return err
	}
	if err := plug(ctx, n.host, n.command.Process.Pid); err != nil {
		return err
	}
	if err := n.tell(ctx, "boot"); err != nil {
		return err
	}
	return n.describe(ctx)
}

// machine is what the node is made of.
func (n *Node) machine(hosts []int, layers string) (machine.Config, error) {
	metadata, err := metadataAddress()
	if err != nil {
		return machine.Config{}, err
	}
	archives, err := filepath.Glob(filepath.Join(n.stage.images(), "*.tar"))
	if err != nil {
		return machine.Config{}, fmt.Errorf("listing images: %w", err)
	}
	var imports [][]string
	for _, archive := range archives {
		imports = append(imports, []string{
			"ctr", "--address", containerdSocket, "--namespace", "k8s.io", "images", "import", "--snapshotter", layers,
			filepath.Join("/srv/images", filepath.Base(archive)),
		})
	}
	kube := filepath.Join("/srv/kube", "ebbtide-lab-node")
	file := func(name string) string { return filepath.Join(settingsFolder, name) }
	return machine.Config{
		Name:     n.Name,
		Root:     n.folder("root"),
		Binds:    map[string]string{"/srv/programs": n.stage.programs(), "/srv/kube": n.stage.Kube, "/srv/images": n.stage.images()},
		Address:  hostPrefix(n.Address()),
		Metadata: metadata,
		Routes:   routes(n.host, hosts),
		Services: []machine.Service{
			{Name: metadataService, Args: []string{
				"/srv/programs/fakeimds", "--allow-non-loopback",
				"--listen", netip.AddrPortFrom(metadata, 80).String(), "--control", n.control(),
			}},
			{Name: containerdService, Args: []string{"containerd", "--config", file("containerd.toml")}, Socket: containerdSocket, Then: imports},
			{Name: kubeletService, Args: []string{
				kube, "kubelet", "--config=" + file("kubelet.yaml"), "--kubeconfig=" + file("kubelet.kubeconfig"),
				"--hostname-override=" + n.Name, "--node-ip=" + n.Address().String(), "--node-labels=" + n.labels(),
			}},
			{Name: proxyService, Args: []string{kube, "kube-proxy", "--config=" + file("kube-proxy.yaml")}},
		},
	}, nil
}

// powerOn starts the machine's first process, in namespaces of its own.
func (n *Node) powerOn(ctx context.Context) (err error) {
	if err := os.MkdirAll(n.config.Root, 0o755); err != nil { //nolint:gosec // A root folder, for all its users.
		return fmt.Errorf("creating disk: %w", err)
	}
	content, err := json.Marshal(n.config)
	if err != nil {
		return fmt.Errorf("encoding machine: %w", err)
	}
	description := n.folder("machine.json")
	if err := os.WriteFile(description, content, 0o600); err != nil {
		return fmt.Errorf("writing machine: %w", err)
	}
	log, err := os.Create(n.folder("machine.log"))
	if err != nil {
		return fmt.Errorf("creating log: %w", err)
	}
	defer func() { _ = log.Close() }()
	command := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(n.stage.programs(), "init"), description)
	command.Stderr = log
	command.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:    true, // Ctrl-C reaches the tests; the machine ends with them
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if n.stdin, err = command.StdinPipe(); err != nil {
		return fmt.Errorf("creating pipe: %w", err)
	}
	answers, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("creating pipe: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("powering on: %w", err)
	}
	n.answers = bufio.NewReader(answers)
	n.command = command
	return nil
}

// tell gives the machine's first process a command and waits for its answer.
func (n *Node) tell(ctx context.Context, command string) error {
	n.talking.Lock()
	defer n.talking.Unlock()
	if _, err := fmt.Fprintln(n.stdin, command); err != nil {
		return fmt.Errorf("telling %q: %w", command, err)
	}
	type reply struct {
		line string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		line, err := n.answers.ReadString('\n')
		replies <- reply{line, err}
	}()
	select {
	case r := <-replies:
		switch {
		case r.err != nil:
			log, _ := os.ReadFile(n.folder("machine.log")) // no log is no line
			return fmt.Errorf("waiting for the answer to %q: %w; its last line: %s", command, r.err, lastLine(log))
		case r.line != "ok\n":
			return fmt.Errorf("telling %q: %s", command, lastLine([]byte(r.line)))
		}
		return nil
	case <-ctx.Done():
		// The answer would be taken for the next command's: the machine is of no more use.
		return errors.Join(fmt.Errorf("telling %q: %w", command, context.Cause(ctx)), n.Die())
	}
}

// RestartKubelet does what "systemctl restart kubelet" does. Pods go on meanwhile.
func (n *Node) RestartKubelet(ctx context.Context) error {
	if err := n.tell(ctx, "restart "+kubeletService); err != nil {
		return fmt.Errorf("restarting the kubelet of %q: %w", n.Name, err)
	}
	return nil
}

// Die is a power cut: the network is gone, and then every process of the node at once,
// containers included. It returns when that is so. Nothing is told to the API server. The
// disk stays for [Cluster.Logs]. A second call does nothing.
func (n *Node) Die() error {
	n.dying.Do(func() {
		defer close(n.gone)
		if n.command == nil {
			n.death = removeGroup(n.group)
			return
		}
		// Network first: nothing of what the end of a process might still say gets out.
		// A node whose start was cut short may not have been plugged in.
		_ = unplug(context.Background(), n.host)
		n.diedAt = time.Now()
		killed := n.command.Process.Kill()
		_ = n.command.Wait() // "signal: killed" is what was asked for
		if errors.Is(killed, os.ErrProcessDone) {
			killed = fmt.Errorf("taking node %q away: it was gone before", n.Name)
		}
		n.death = errors.Join(killed, n.keeper.stop(), removeGroup(n.group))
	})
	return n.death
}

// Gone is closed when the node has died.
func (n *Node) Gone() <-chan struct{} { return n.gone }

// DiedAt is when the node's power was cut; zero until it is gone.
func (n *Node) DiedAt() time.Time {
	select {
	case <-n.gone:
		return n.diedAt
	default:
		return time.Time{}
	}
}
