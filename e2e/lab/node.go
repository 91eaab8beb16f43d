package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NodeSpec describes a simulated node.
type NodeSpec struct {
	Name        string
	Labels      map[string]string // added to kubernetes.io/hostname, os and arch
	Annotations map[string]string
	Taints      []corev1.Taint
	ProviderID  string
	Allocatable corev1.ResourceList // nil: 32 CPUs, 256 GiB, 250 pods
	ReadyDelay  time.Duration       // from the node's creation until it is Ready, as of a machine that boots
}

// Node is a simulated node of a lab.
type Node struct {
	fleet *fleet
	name  string
	ip    netip.Addr

	stop    context.CancelFunc // ends what runs for the node
	unready chan struct{}      // holds one value while the API server says that the node is not Ready

	// Guarded by the fleet's mutex.
	dead   bool
	diedAt time.Time
	doom   *time.Timer // set by DieAt
}

// Name returns the node's name.
func (n *Node) Name() string { return n.name }

// AddNode creates a node and runs it until it dies, is removed, or the lab ends. It
// returns when pods can be scheduled to it; with a ReadyDelay it returns at once,
// and [Lab.WaitNode] can wait for the rest.
func (l *Lab) AddNode(ctx context.Context, spec NodeSpec) (*Node, error) {
	n, err := l.fleet.add(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("adding node %q: %w", spec.Name, err)
	}
	return n, nil
}

func (f *fleet) add(ctx context.Context, spec NodeSpec) (*Node, error) {
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	n, err := f.register(spec.Name, stop)
	if err != nil {
		stop()
		return nil, err
	}
	created, err := f.client.CoreV1().Nodes().Create(ctx, f.nodeObject(n, spec), metav1.CreateOptions{})
	if err == nil {
		err = f.createLease(ctx, created)
	}
	if err != nil {
		n.Die()
		f.forget(n)
		return nil, err
	}
	f.spawn(func() { n.run(life, spec.ReadyDelay) })
	if spec.ReadyDelay > 0 {
		return n, nil
	}
	return n, f.nodeMirror.wait(ctx, func(nodes []*corev1.Node) bool {
		for _, node := range nodes {
			if node.UID == created.UID {
				return isReady(node) && !hasTaint(node, corev1.TaintNodeNotReady)
			}
		}
		return false
	})
}

// register makes the machine, and starts the pods that were bound to its name before.
func (f *fleet) register(name string, stop context.CancelFunc) (*Node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.isClosed():
		return nil, errClosed
	case f.nodes[name] != nil:
		return nil, errors.New("the lab has a node of this name")
	}
	f.nodeIP = f.nodeIP.Next()
	n := &Node{fleet: f, name: name, ip: f.nodeIP, stop: stop, unready: make(chan struct{}, 1)}
	f.nodes[name] = n
	for uid, object := range f.elsewhere {
		if object.Spec.NodeName == name {
			delete(f.elsewhere, uid)
			f.bound(object)
		}
	}
	return n, nil
}

func (f *fleet) forget(n *Node) {
	n.stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.nodes, n.name)
}

// Die takes the machine's power away: from now on it reports nothing, ends nothing
// and renews nothing, and every pod on it that has not ended is lost.
func (n *Node) Die() { n.DieAt(time.Now()) }

// DieAt lets the machine die at a moment, at once if that is past. A later call
// replaces an earlier one that has not come true.
func (n *Node) DieAt(at time.Time) {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	if n.doom != nil {
		n.doom.Stop()
	}
	if left := time.Until(at); left > 0 {
		n.doom = time.AfterFunc(left, n.Die)
		return
	}
	if n.dead {
		return
	}
	n.dead, n.diedAt = true, time.Now()
	n.stop()
	for _, p := range n.fleet.seen {
		if p.node != n {
			continue
		}
		if p.abort != nil {
			p.abort() // a machine that dies takes its requests along
		}
		if !p.ended() {
			n.fleet.end(p, Lost)
		}
	}
}

// Remove takes the machine and its Node object away, as a cloud does with one that
// has been terminated. Pods that have not ended are lost; Kubernetes' garbage
// collection deletes them. A node that is gone already is no error.
func (n *Node) Remove(ctx context.Context) error {
	n.Die()
	n.fleet.forget(n)
	err := n.fleet.client.CoreV1().Nodes().Delete(ctx, n.name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing node %q: %w", n.name, err)
	}
	return nil
}
