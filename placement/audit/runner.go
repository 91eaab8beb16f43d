package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/ebbtide/ebbtide/placement"
)

const (
	// auditPeriod is the time between two audits: much less than what a pod may wait,
	// and much more than what an audit of ten thousand pods takes.
	auditPeriod = 5 * time.Second
	// The times of the lease are those of Kubernetes' own controllers. A leader that is
	// lost is replaced within leaseDuration.
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// Runner audits a cluster again and again. Every replica looks, so that each webhook
// knows which workloads lately waited; the one that leads acts.
type Runner struct {
	Cluster Cluster
	Rules   placement.Rules
	// Move moves one pod off its node; see [Mover.Move].
	Move func(ctx context.Context, pod *corev1.Pod) (Moved, error)
	// Client deletes pods that wait in vain; Dynamic writes what policies say.
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// Lock is what the replicas elect their leader by.
	Lock resourcelock.Interface
	// Events is where people hear of what was done.
	Events  events.EventRecorder
	Metrics *Metrics
	Log     *slog.Logger
	// WhileLeading is other work that one replica should do at a time, by a name for the
	// log. Each is begun when a term begins, with a context that ends with the term, and
	// has to return soon after: the next term waits for it. One that returns an error
	// before is begun again after a pause; one that returns nil is done for this term. A
	// successor may begin before it has returned.
	WhileLeading map[string]func(ctx context.Context) error
	// OnPending, if not nil, is told that [Runner.LatelyPending] lists others than before.
	// It must not block, and may call LatelyPending.
	OnPending func()
	// Rendered is for a program whose pods an admission policy places, without the nodes
	// and without the memory of who waited. Pods wait for as long as they wait: those that
	// are made in the place of deleted ones would wait as long. And only those are rescued
	// whose replacements are placed.
	Rendered bool
	// OwnNamespace is the namespace of the program's own pods; see [View].
	OwnNamespace string
	// Period is the time between two audits; 0 is five seconds.
	Period time.Duration
	// Now is the clock that is held against the API server's times; nil is time.Now.
	Now func() time.Time

	mu     sync.Mutex
	memory Memory
	// audited is true after the first audit.
	audited bool
}

// LatelyPending lists the controllers whose pods our requirements lately left Pending,
// for [placement.NewSnapshot]. It answers from memory.
func (r *Runner) LatelyPending() []types.UID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.memory.LatelyPending()
}

// Ready fails until the first audit: a webhook beside one that has not looked might
// require again what was found to be in vain.
func (r *Runner) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.audited {
		return errors.New("auditing the pods: no audit has ended so far")
	}
	return nil
}

// Run audits until ctx ends, and returns when nothing that it began is under way. It
// fails at once when the lock cannot be used.
func (r *Runner) Run(ctx context.Context) error {
	terms := make(chan context.Context)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: r.Lock, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		// A successor need not wait for the lease to end. What a leader was about when it
		// let go is safe with two: deletions and evictions carry the pod's UID.
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(term context.Context) {
				select {
				case terms <- term:
				case <-term.Done():
				}
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("preparing the election of a leader: %w", err)
	}
	findings := make(chan Findings)
	var running sync.WaitGroup
	// Its Run ends with the term; a leader that lost the lease stands again.
	running.Go(func() { wait.UntilWithContext(ctx, elector.Run, retryPeriod) })
	running.Go(func() { r.audit(ctx, findings) })
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case term := <-terms:
				r.lead(term, findings) //nolint:contextcheck // the elector made the term of ctx
			}
		}
	})
	running.Wait()
	return nil
}

// audit looks at the cluster once a period, and hands what it finds to a leader that
// listens.
func (r *Runner) audit(ctx context.Context, findings chan<- Findings) {
	period := r.Period
	if period == 0 {
		period = auditPeriod
	}
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		found, err := r.auditOnce(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.Log.WarnContext(ctx, "Missed an audit", "err", err)
			}
			return
		}
		select {
		case findings <- found:
		default:
		}
	}, period)
}

func (r *Runner) auditOnce(ctx context.Context) (Findings, error) {
	view, err := r.Cluster.View(ctx)
	if err != nil {
		return Findings{}, err
	}
	view.Rendered, view.OwnNamespace = r.Rendered, r.OwnNamespace
	r.mu.Lock()
	before := r.memory
	found := Audit(view, r.Rules, r.now(), before)
	r.memory, r.audited = found.Memory, true
	r.mu.Unlock()
	r.Metrics.pods.found(found.Policies)
	r.Metrics.success.SetToCurrentTime()
	if r.OnPending != nil && !slices.Equal(before.LatelyPending(), found.Memory.LatelyPending()) {
		r.OnPending()
	}
	return found, nil
}

func (r *Runner) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}
