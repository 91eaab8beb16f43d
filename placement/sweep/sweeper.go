package sweep

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/events"

	"github.com/ebbtide/ebbtide/drain"
)

const (
	// sweepPeriod is the time between two looks. Nothing is due before many minutes.
	sweepPeriod = 30 * time.Second
	// AtOnce is how many nodes are looked after at the same time.
	AtOnce = 8
	// settled is how long an agent has run that is taken to stay, though it is not Ready.
	// One that starts again and again does not come so far.
	settled = time.Minute
)

// Sweeper takes back what is left, on one replica at a time.
type Sweeper struct {
	Undoer
	// Look returns the cluster as it is known. It answers from memory.
	Look func(ctx context.Context) (View, error)
	// After is how long an agent is waited for; see [Judge].
	After time.Duration
	// Events is where people hear of it.
	Events  events.EventRecorder
	Metrics *Metrics
	Log     *slog.Logger
	// Period is the time between two looks; 0 is half a minute.
	Period time.Duration
	// Now is the clock that is held against deadlines; nil is time.Now.
	Now func() time.Time
}

// Run looks, and takes back what is due, until ctx ends. It begins with an empty memory:
// a new leader waits for each agent anew.
func (s *Sweeper) Run(ctx context.Context) error {
	period := s.Period
	if period == 0 {
		period = sweepPeriod
	}
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	var memory Memory
	for {
		view, err := s.Look(ctx)
		if err != nil {
			return fmt.Errorf("looking for what drains have left: %w", err)
		}
		var due []Leftover
		due, memory = Judge(view, s.After, s.now(), memory)
		memory = memory.without(s.sweepAll(ctx, due))
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// sweepAll takes back what is due, and returns what was somebody's after all.
func (s *Sweeper) sweepAll(ctx context.Context, due []Leftover) []Leftover {
	outcomes := make([]Outcome, len(due))
	var group errgroup.Group
	group.SetLimit(AtOnce)
	for i, left := range due {
		group.Go(func() error {
			outcomes[i] = s.sweep(ctx, left)
			return nil
		})
	}
	_ = group.Wait() // each has told of itself
	var changed []Leftover
	for i, left := range due {
		if outcomes[i] == Changed {
			changed = append(changed, left)
		}
	}
	return changed
}

// sweep takes back what is left on one node, and tells of it. What fails is due again.
func (s *Sweeper) sweep(ctx context.Context, left Leftover) Outcome {
	outcome, err := s.attempt(ctx, left)
	if ctx.Err() != nil && err != nil {
		return outcome // another leader goes on
	}
	s.Metrics.sweeps[outcome].Inc()
	switch outcome {
	case Swept:
		s.Log.InfoContext(ctx, "Swept node", "node", left.Name, "left", left.String())
		s.tell(left)
	case Changed:
		s.Log.InfoContext(ctx, "Left node to its agent", "node", left.Name, "left", left.String())
	case Failed:
		s.Log.WarnContext(ctx, "Left something on node", "node", left.Name, "left", left.String(), "err", err)
	}
	return outcome
}

// attempt asks once more whether nobody else will do it, and does it.
func (s *Sweeper) attempt(ctx context.Context, left Leftover) (Outcome, error) {
	if left.Node != nil {
		switch served, err := s.served(ctx, left); {
		case err != nil:
			return Failed, err
		case served:
			return Changed, nil
		}
	}
	return s.Undo(ctx, left, func(found drain.State) bool {
		return left.State != nil && found.Notice == left.State.Notice && found.BootID == left.State.BootID &&
			!found.Deadline.After(s.now().Add(-s.After))
	})
}

// served asks the API server whether an agent is there. One that runs and is not Ready
// counts: it cannot see its cloud, for one, and knows better than we do whether its
// machine is still to die.
func (s *Sweeper) served(ctx context.Context, left Leftover) (bool, error) {
	if left.State == nil && !hasAgentsHandOver(left) {
		return false, nil // what rescues have left no agent looks after
	}
	ctx, cancel := context.WithTimeout(ctx, undoWithin)
	defer cancel()
	pods, err := s.Client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", left.Name).String(),
	})
	if err != nil {
		return false, fmt.Errorf("looking for the agent of node %q: %w", left.Name, err)
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; isAgentOf(left, pod) && (serves(pod) || hasSettled(pod, s.now())) {
			return true, nil
		}
	}
	return false, nil
}

func hasAgentsHandOver(left Leftover) bool {
	for _, pod := range left.Handed {
		if !isRescued(pod) {
			return true
		}
	}
	return false
}

func hasSettled(pod *corev1.Pod, now time.Time) bool {
	for i := range pod.Status.ContainerStatuses {
		running := pod.Status.ContainerStatuses[i].State.Running
		if pod.DeletionTimestamp == nil && running != nil && !running.StartedAt.After(now.Add(-settled)) {
			return true
		}
	}
	return false
}

// tell writes an Event about the node or, where there is none, about its pods. It is a
// warning: an agent should have been there.
func (s *Sweeper) tell(left Leftover) {
	if left.Node != nil {
		s.Events.Eventf(left.Node, nil, corev1.EventTypeWarning, "Swept", "Sweep",
			"took back what a drain had left, since no agent of the node would: %s", left)
		return
	}
	for _, pod := range left.Handed {
		s.Events.Eventf(pod, nil, corev1.EventTypeWarning, "Swept", "Sweep",
			"evicted, since it was handed over on node %q, which does not exist any more", left.Name)
	}
}

func (s *Sweeper) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}
