package drain

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubectl/pkg/util/podutils"
)

// Balancers is what an [Exclusion] needs of the cluster. Each method is one
// attempt.
type Balancers interface {
	// LocalServices lists the Services whose external traffic goes only to
	// pods of the node that it came in by.
	LocalServices(ctx context.Context) ([]corev1.Service, error)
	// AnotherServes says whether a ready node would be left behind the
	// external load balancers.
	AnotherServes(ctx context.Context) (bool, error)
	// Exclude takes the node out of the load balancers; it says whether it
	// had to.
	Exclude(ctx context.Context) (bool, error)
}

// ExclusionReason says how an [Exclusion] ended. The values are stable.
type ExclusionReason string

// The ends of an exclusion.
const (
	// Excluded: the label was set.
	Excluded ExclusionReason = "Excluded"
	// AlreadyExcluded: somebody else had set it.
	AlreadyExcluded ExclusionReason = "AlreadyExcluded"
	// LastNode: no other ready node would have been left.
	LastNode ExclusionReason = "LastNode"
	// ExclusionPending: the node still serves; the label comes later.
	ExclusionPending ExclusionReason = "Pending"
	// NotExcluded: the time was up first.
	NotExcluded ExclusionReason = "NotExcluded"
)

// ExclusionOutcome says how the node left the external load balancers.
type ExclusionOutcome struct {
	Reason ExclusionReason `json:"reason"`
	// At is when that was known.
	At time.Time `json:"at,omitzero"`
	// Err is the last error; empty when there was none.
	Err string `json:"error,omitempty"`
}

// Exclusion takes the node out of external load balancers: not while a pod here
// still serves traffic that came in by this node, and at the latest
// excludeLead before the deadline.
type Exclusion struct {
	Node Balancers

	mu   sync.Mutex
	left map[types.UID]bool
	wake chan struct{}
}

const (
	// excludeLead is what a load balancer takes to notice: its controller's
	// sync, and connections that end.
	excludeLead = 20 * time.Second
	// excludeTimeout and excludeDelay pace the attempts; nothing waits for
	// them.
	excludeTimeout = 2 * time.Second
	excludeDelay   = 500 * time.Millisecond
)

// NewExclusion returns the exclusion of node.
func NewExclusion(node Balancers) *Exclusion {
	return &Exclusion{Node: node, left: map[types.UID]bool{}, wake: make(chan struct{}, 1)}
}

// Leaves notes that a pod was told to stop: from then on it is not ready, and
// no traffic is meant for it.
func (e *Exclusion) Leaves(pod types.UID) {
	e.mu.Lock()
	e.left[pod] = true
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Run waits for the right moment and excludes the node, whose state must have
// been written before: cordoned is closed then. It returns when that is done,
// or not to be done, or when ctx ends.
func (e *Exclusion) Run(
	ctx context.Context, pods []corev1.Pod, countdown *Countdown, cordoned <-chan struct{},
) ExclusionOutcome {
	var services []corev1.Service
	err := e.attempt(ctx, countdown, func(ctx context.Context) (err error) {
		services, err = e.Node.LocalServices(ctx)
		return err
	})
	if err == nil {
		e.wait(ctx, countdown, localBackends(services, pods))
	}
	select {
	case <-cordoned:
	case <-ctx.Done():
	}
	outcome := ExclusionOutcome{Reason: NotExcluded}
	err = e.try(ctx, func(ctx context.Context) error {
		another, err := e.Node.AnotherServes(ctx)
		if err != nil {
			return err
		}
		if !another {
			outcome.Reason = LastNode
			return nil
		}
		needed, err := e.Node.Exclude(ctx)
		switch {
		case err != nil:
			return err
		case needed:
			outcome.Reason = Excluded
		default:
			outcome.Reason = AlreadyExcluded
		}
		return nil
	}, nil)
	outcome.At = time.Now()
	if err != nil {
		outcome.Err = err.Error()
	}
	return outcome
}

// attempt calls ask until it succeeds, ctx ends or the lead begins.
func (e *Exclusion) attempt(ctx context.Context, countdown *Countdown, ask func(context.Context) error) error {
	budget, _ := countdown.Budget()
	lead := time.NewTimer(time.Until(budget.Deadline.Add(-excludeLead)))
	defer lead.Stop()
	return e.try(ctx, ask, lead.C)
}

func (e *Exclusion) try(ctx context.Context, ask func(context.Context) error, stop <-chan time.Time) error {
	for {
		one, cancel := context.WithTimeout(ctx, excludeTimeout)
		err := ask(one)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-stop:
			return err
		case <-time.After(excludeDelay):
		}
	}
}

// wait returns when every backend has left, the lead begins or ctx ends.
func (e *Exclusion) wait(ctx context.Context, countdown *Countdown, backends []types.UID) {
	for !e.allLeft(backends) {
		budget, tightened := countdown.Budget()
		lead := time.NewTimer(time.Until(budget.Deadline.Add(-excludeLead)))
		select {
		case <-ctx.Done():
			lead.Stop()
			return
		case <-lead.C:
			return
		case <-e.wake:
		case <-tightened:
		}
		lead.Stop()
	}
}

func (e *Exclusion) allLeft(backends []types.UID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, uid := range backends {
		if !e.left[uid] {
			return false
		}
	}
	return true
}

// localBackends returns the ready pods that one of services selects.
func localBackends(services []corev1.Service, pods []corev1.Pod) []types.UID {
	var backends []types.UID
	for i := range pods {
		if ready(&pods[i]) && selected(services, &pods[i]) {
			backends = append(backends, pods[i].UID)
		}
	}
	return backends
}

func selected(services []corev1.Service, pod *corev1.Pod) bool {
	for i := range services {
		selector := services[i].Spec.Selector
		// A Service without a selector keeps its endpoints itself.
		if services[i].Namespace == pod.Namespace && len(selector) > 0 &&
			labels.SelectorFromSet(selector).Matches(labels.Set(pod.Labels)) {
			return true
		}
	}
	return false
}

// ready says whether a pod is Ready and not on its way out.
func ready(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil && podutils.IsPodReady(pod) }

// pageSize bounds what one reply of a list holds in memory.
const pageSize = 100

// LocalServices lists the Services with externalTrafficPolicy Local of every
// namespace. One request for each pageSize Services.
func (c *Client) LocalServices(ctx context.Context) ([]corev1.Service, error) {
	var local []corev1.Service
	for token := ""; ; {
		var page corev1.ServiceList
		if err := c.list(ctx, "services", "", token, &page); err != nil {
			return nil, err
		}
		for i := range page.Items {
			if page.Items[i].Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
				local = append(local, page.Items[i])
			}
		}
		if token = page.Continue; token == "" {
			return local, nil
		}
	}
}

// AnotherServes asks for nodes without [ExcludeLabel] until it finds a ready
// one besides ours. One request in most clusters.
func (c *Client) AnotherServes(ctx context.Context) (bool, error) {
	for token := ""; ; {
		var page corev1.NodeList
		if err := c.list(ctx, "nodes", "!"+ExcludeLabel, token, &page); err != nil {
			return false, err
		}
		for i := range page.Items {
			if node := &page.Items[i]; node.Name != c.name && nodeReady(node) {
				return true, nil
			}
		}
		if token = page.Continue; token == "" {
			return false, nil
		}
	}
}

func nodeReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Exclude sets [ExcludeLabel], and notes in the node's state that it was us,
// in one patch under an optimistic lock. A read and at most one write.
func (c *Client) Exclude(ctx context.Context) (bool, error) {
	node, err := c.Get(ctx)
	if err != nil {
		return false, err
	}
	state, err := ReadState(node)
	if err != nil {
		return false, err
	}
	if state == nil || state.PutBack || state.Advice != "" {
		return false, fmt.Errorf("excluding node %q from load balancers: it carries no drain of ours", c.name)
	}
	patch, needed := excludePatch(node, *state)
	if !needed {
		return false, nil
	}
	return true, c.patchNode(ctx, "excluding from load balancers", patch, c.dryRun)
}
