package lab

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
)

// writers bounds the API requests of all nodes at a time. A hundred nodes with
// twenty pods each must not become two thousand connections' worth of work.
const writers = 16

// fleet runs all simulated nodes of a lab. What happens on the machines (pod.go,
// this file) is memory and timers, exact to the moment even while the API server is
// away; what the API server is told of it (kubelet.go) follows through a queue and
// is repeated until it has arrived.
type fleet struct {
	client         kubernetes.Interface
	kubeletVersion string
	queue          workqueue.TypedRateLimitingInterface[types.UID]
	nodeMirror     *mirror[*corev1.Node]

	cancel context.CancelFunc // of everything that runs
	wait   sync.WaitGroup
	closed chan struct{}

	mu            sync.Mutex
	nodes         map[string]*Node
	pods          map[types.UID]*pod
	seen          []*pod                    // all of pods, in order
	elsewhere     map[types.UID]*corev1.Pod // bound to a node that is not ours, or not yet
	subscriptions map[*subscription]bool
	podIP, nodeIP netip.Addr // given last
}

func newFleet(config *rest.Config) (*fleet, error) {
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("creating the nodes' client: %w", err)
	}
	f := &fleet{
		client: client,
		// From 20 ms to 1 s: when the API server is back, its nodes are too.
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](20*time.Millisecond, time.Second)),
		closed:        make(chan struct{}),
		nodes:         map[string]*Node{},
		pods:          map[types.UID]*pod{},
		elsewhere:     map[types.UID]*corev1.Pod{},
		subscriptions: map[*subscription]bool{},
		// 198.18.0.0/15 is set aside for benchmarks and routed nowhere (RFC 2544).
		podIP:  netip.MustParseAddr("198.18.0.0"),
		nodeIP: netip.MustParseAddr("198.19.0.0"),
	}
	f.nodeMirror = newMirror(f.observeNode)
	return f, nil
}

// run begins to watch and to write, until close.
func (f *fleet) run(ctx context.Context) {
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	pods := newMirror(f.observe)
	f.wait.Go(func() {
		pods.run(ctx, f.client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
		})
	})
	f.wait.Go(func() {
		f.nodeMirror.run(ctx, f.client.CoreV1().RESTClient(), "nodes", metav1.NamespaceAll, nil)
	})
	for range writers {
		f.wait.Go(func() { f.write(ctx) })
	}
}

// close ends the nodes without a trace: no pod is lost by it.
func (f *fleet) close() {
	f.mu.Lock()
	if f.isClosed() {
		f.mu.Unlock()
		return
	}
	close(f.closed)
	for _, n := range f.nodes {
		n.stop()
		if n.doom != nil {
			n.doom.Stop()
		}
	}
	for _, p := range f.seen {
		p.stopTimer()
	}
	f.mu.Unlock()
	f.queue.ShutDown()
	if f.cancel != nil {
		f.cancel()
	}
	f.wait.Wait()
}

// spawn runs something that ends with the fleet, unless that has ended already.
func (f *fleet) spawn(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.isClosed() {
		f.wait.Go(do)
	}
}

// isClosed needs the lock.
func (f *fleet) isClosed() bool {
	select {
	case <-f.closed:
		return true
	default:
		return false
	}
}

// observe takes the news of a pod from the watch: before is nil when it is new,
// after is nil when the API server has it no more.
func (f *fleet) observe(before, after *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.isClosed() {
		return
	}
	if after == nil {
		delete(f.elsewhere, before.UID)
		if p := f.pods[before.UID]; p != nil {
			f.vanished(p)
		}
		return
	}
	f.bound(after)
}

// bound takes the present state of a pod that has a node. It needs the lock.
func (f *fleet) bound(object *corev1.Pod) {
	p := f.pods[object.UID]
	if p == nil {
		node := f.nodes[object.Spec.NodeName]
		if node == nil {
			f.elsewhere[object.UID] = object
			return
		}
		if finished(object) {
			return // it ended on an earlier machine of this name
		}
		p = f.arrive(object, node)
	}
	if object.DeletionTimestamp != nil && !p.told {
		f.tell(p, graceOf(object))
	}
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func graceOf(p *corev1.Pod) time.Duration {
	if p.DeletionGracePeriodSeconds == nil {
		return 0
	}
	return time.Duration(*p.DeletionGracePeriodSeconds) * time.Second
}

// arrive starts a pod on its node. On a dead machine it is lost before it ran.
func (f *fleet) arrive(object *corev1.Pod, node *Node) *pod {
	p := &pod{node: node, object: object, record: PodRecord{
		Namespace: object.Namespace, Name: object.Name, UID: object.UID, Node: node.name, End: Running,
	}}
	if owner := metav1.GetControllerOf(object); owner != nil {
		p.record.OwnerKind, p.record.OwnerName = owner.Kind, owner.Name
	}
	f.pods[object.UID] = p
	f.seen = append(f.seen, p)
	if node.dead {
		p.record.EndedAt = node.diedAt
		f.end(p, Lost)
		return p
	}
	p.record.StartedAt = time.Now()
	if p.ip = node.ip; !object.Spec.HostNetwork {
		f.podIP = f.podIP.Next()
		p.ip = f.podIP
	}
	f.changed(p)
	if p.script, p.broken = parseScript(object.Annotations); p.broken != nil {
		f.queue.Add(p.record.UID)
		return p
	}
	f.after(p, p.script.readyAfter, func() {
		p.up = time.Now()
		f.queue.Add(p.record.UID)
		f.after(p, p.script.completesAfter, func() { f.end(p, Completed) })
	})
	return p
}

// tell sends SIGTERM. The grace is final: a kubelet ignores a later one.
func (f *fleet) tell(p *pod, grace time.Duration) {
	p.told = true
	if p.ended() {
		f.queue.Add(p.record.UID)
		return
	}
	p.record.ToldAt, p.record.Grace = time.Now(), grace
	// The kubelet leaves a second even to those who get none.
	left, end := max(grace, time.Second), Killed
	if p.script.exitsAfter <= left {
		left, end = p.script.exitsAfter, Exited
	}
	f.after(p, left, func() { f.end(p, end) })
	f.changed(p)
}

// vanished handles a pod that the API server has no more. If it still runs, somebody
// deleted it with grace 0, and the kubelet stops it with what little grace it gives.
func (f *fleet) vanished(p *pod) {
	p.gone = true
	if !p.told && !p.ended() {
		f.tell(p, 0)
	}
}

// end records how a pod ended and makes the node report it.
func (f *fleet) end(p *pod, how End) {
	p.stopTimer()
	p.record.End = how
	if p.record.EndedAt.IsZero() {
		p.record.EndedAt = time.Now()
	}
	f.changed(p)
	f.queue.Add(p.record.UID)
}

// after replaces what happens next to a pod.
func (f *fleet) after(p *pod, delay time.Duration, next func()) {
	p.stopTimer()
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if p.timer != timer {
			return // something else happened while this waited for the lock
		}
		p.timer = nil
		next()
	})
	p.timer = timer
}

func (p *pod) stopTimer() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

func (f *fleet) changed(p *pod) {
	for s := range f.subscriptions {
		s.push(p.record)
	}
}
