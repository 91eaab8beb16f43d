//go:build linux

package nodes

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes/machine"
)

// Options say how many nodes a cluster has.
type Options struct {
	Spot, LongLived int
	// Progress gets a line for each step of the start; nil means nobody.
	Progress io.Writer
}

const (
	maxNodes = 200 // see network.go for where nodes and other machines live
	// readyWithin bounds the start of all nodes: about half a minute on an idle machine
	// of two cores.
	readyWithin = 5 * time.Minute
	proxyUser   = "system:kube-proxy"
)

// Cluster is a control plane and its nodes. Its methods may be called from several
// goroutines.
type Cluster struct {
	lab   *lab.Lab
	nodes []*Node

	mu       sync.Mutex
	machines []*Machine // beside the nodes
	closing  sync.Once
	closed   error
}

// Start starts a cluster, one at a time, and returns when all nodes are Ready. The
// package's TestMain has to use [Main]. ctx bounds the start only; the cluster lives
// until Close or until this process ends.
func Start(ctx context.Context, options Options) (_ *Cluster, err error) {
	if current == nil {
		return nil, errors.New("starting real nodes: the package's TestMain does not use nodes.Main")
	}
	if options.Progress == nil {
		options.Progress = io.Discard
	}
	current.clusters++
	c := &Cluster{}
	if c.nodes, err = plan(current, options); err != nil {
		return nil, err
	}
	var hosts []int
	for _, n := range c.nodes {
		hosts = append(hosts, n.host)
	}
	if err := layBridge(ctx, hosts); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	_, _ = fmt.Fprintln(options.Progress, "nodes: starting the control plane")
	if c.lab, err = lab.Start(ctx, lab.Options{Progress: options.Progress, Address: controlPlane, Users: users(c.nodes)}); err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(options.Progress, "nodes: starting %d nodes\n", len(c.nodes))
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready after %s", readyWithin))
	defer cancel()
	group, each := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		group.Go(func() error { return c.startNode(each, n, hosts) })
	}
	return c, group.Wait()
}

// plan names the nodes and gives each its place.
func plan(s *stage, options Options) ([]*Node, error) {
	if options.Spot+options.LongLived > maxNodes {
		return nil, fmt.Errorf("planning %d nodes: %w", options.Spot+options.LongLived, errTooMany)
	}
	var nodes []*Node
	add := func(name string, spot bool) {
		host := firstHost + len(nodes)
		nodes = append(nodes, newNode(s, name, host, spot))
	}
	for i := range options.Spot {
		add(fmt.Sprintf("spot-%d", i+1), true)
	}
	for i := range options.LongLived {
		add(fmt.Sprintf("long-lived-%d", i+1), false)
	}
	return nodes, nil
}

// users lets each kubelet in as its own node, so that it may do no more than on a real
// cluster.
func users(nodes []*Node) []lab.User {
	list := []lab.User{{Name: proxyUser}}
	for _, n := range nodes {
		list = append(list, lab.User{Name: n.user(), Groups: []string{"system:nodes"}})
	}
	return list
}

func (c *Cluster) startNode(ctx context.Context, n *Node, hosts []int) error {
	kubelet, err := writeKubeconfig(c.lab.UserConfig(n.user()))
	if err != nil {
		return err
	}
	proxy, err := writeKubeconfig(c.lab.UserConfig(proxyUser))
	if err != nil {
		return err
	}
	if err := n.start(ctx, hosts, kubelet, proxy); err != nil {
		return fmt.Errorf("starting node %q: %w", n.Name, err)
	}
	return c.lab.WaitNode(ctx, n.Name, func(node *corev1.Node) bool {
		return slices.ContainsFunc(node.Status.Conditions, func(condition corev1.NodeCondition) bool {
			return condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
		})
	})
}

// Lab is the control plane: clients, waits, and components that can be stopped. Its
// kubeconfig serves any program that this process starts.
func (c *Cluster) Lab() *lab.Lab { return c.lab }

// Nodes returns all nodes, the spot nodes first. Those that have died stay among them.
func (c *Cluster) Nodes() []*Node { return slices.Clone(c.nodes) }

// Node returns the node of a name, or nil.
func (c *Cluster) Node(name string) *Node {
	at := slices.IndexFunc(c.nodes, func(n *Node) bool { return n.Name == name })
	if at < 0 {
		return nil
	}
	return c.nodes[at]
}

// LoseAPIServer takes the API server away for a time, as a machine that hangs: its
// connections stay open and nobody answers on them. It returns when the server is back,
// or when ctx ends, and the server is back then too.
func (c *Cluster) LoseAPIServer(ctx context.Context, lost time.Duration) error {
	if err := c.lab.Pause(lab.APIServer); err != nil {
		return err
	}
	timer := time.NewTimer(lost)
	defer timer.Stop()
	select {
	case <-timer.C:
		return c.lab.Resume(lab.APIServer)
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), c.lab.Resume(lab.APIServer))
	}
}

// Close takes everything away: nodes, control plane, network, control groups. Logs can
// be read until the process ends. A second call does nothing.
func (c *Cluster) Close() error {
	c.closing.Do(func() {
		var errs []error
		for _, n := range c.nodes {
			// Images and containers take a gigabyte; the logs stay.
			errs = append(errs, n.Die(), os.RemoveAll(n.folder("root", "var", "lib")))
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, m := range c.machines {
			errs = append(errs, m.Die())
		}
		if c.lab != nil {
			errs = append(errs, c.lab.Close())
		}
		errs = append(errs, removeBridge(), removeGroup(current.group()))
		c.closed = errors.Join(errs...)
	})
	return c.closed
}

// StartMachine starts a machine beside the nodes, which reaches nodes, pods and the
// control plane, and is reached by this process: the place for a Prometheus. files are
// in the machine's folder /srv/settings, by name. The machine goes with the cluster.
func (c *Cluster) StartMachine(ctx context.Context, name string, services []machine.Service, files map[string][]byte) (*Machine, error) {
	c.mu.Lock()
	host := firstExtra + len(c.machines)
	if host >= firstHost || c.Node(name) != nil {
		c.mu.Unlock()
		return nil, fmt.Errorf("starting machine %q: %w, or the name is a node's", name, errTooMany)
	}
	m := newMachine(current, name, host)
	c.machines = append(c.machines, m)
	c.mu.Unlock()
	var hosts []int
	for _, n := range c.nodes {
		hosts = append(hosts, n.host)
	}
	if err := m.layOut(services, files, routes(m.host, hosts), nil); err != nil {
		return nil, err
	}
	if err := m.start(ctx); err != nil {
		return nil, fmt.Errorf("starting machine %q: %w", name, err)
	}
	return m, nil
}

// Kubeconfig returns the administrator's, with everything it refers to inside: for
// programs on a machine of [Cluster.StartMachine]. [lab.Lab.Kubeconfig] is for those of
// this process.
func (c *Cluster) Kubeconfig() ([]byte, error) { return writeKubeconfig(c.lab.Config()) }

// Run runs a program to its end as the administrator of the cluster, and returns what it
// printed: helm, promtool, ... A name without a slash is looked for among the programs
// that Main has built, then on the PATH.
func (c *Cluster) Run(ctx context.Context, program string, args ...string) ([]byte, error) {
	path := program
	if built := filepath.Join(current.programs(), program); found("/", []string{current.programs()}, program) {
		path = built
	}
	command := exec.CommandContext(ctx, path, args...)
	command.Env = append(command.Environ(), "KUBECONFIG="+c.lab.Kubeconfig(), "HOME="+current.temporary())
	out, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return out, fmt.Errorf("running %q: %w: %s", program, err, lastLine(exit.Stderr))
	}
	if err != nil {
		return out, fmt.Errorf("running %q: %w", program, err)
	}
	return out, nil
}

//go:embed coredns.yaml
var corednsManifest string

// StartDNS installs CoreDNS as the cluster's DNS, in kube-system and with the labels that
// kubeadm gives it, and returns when it answers. It is not part of Start, so that a test
// can install first what is to place it.
func (c *Cluster) StartDNS(ctx context.Context) error {
	manifest := os.Expand(corednsManifest, func(name string) string {
		return map[string]string{"IMAGE": corednsImage, "ADDRESS": dnsAddress}[name]
	})
	if err := c.lab.Apply(ctx, "kube-system", manifest); err != nil {
		return fmt.Errorf("installing CoreDNS: %w", err)
	}
	const replicas = 2
	return c.lab.WaitPods(ctx, "kube-system", "k8s-app=kube-dns", lab.AllReady(replicas))
}
