package drain

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// cluster is one node in memory, with its API server and its kubelet, on the
// clock of the bubble that it is made in. It knows what [Mover] has to cope
// with: budgets that open late or never, calls that hang, replies that are lost
// and pods that take their time.
type cluster struct {
	t       *testing.T
	began   time.Time
	changes chan Change
	// budgets tells of disruption budgets; nothing is told unless a test does.
	budgets chan BudgetChange

	mu   sync.Mutex
	pods map[string]*resident // by namespace and name
	gone map[types.UID]*resident
	// inFlight counts the calls under way, busiest is the most there were;
	// calls counts all of them.
	inFlight, busiest, calls int
	// order is the order in which pods were told to stop.
	order []string
	// countdown is that of the drain under way, nil before it.
	countdown *Countdown
	// over is set when the drain has ended: nothing changes any more, so that
	// what became of it can be read.
	over bool
	// wrong lists the calls that no drain may make.
	wrong []string
}

// resident is a pod of the cluster with all that is known about it there.
type resident struct {
	pod *corev1.Pod
	// budget lets it be evicted; nil always does.
	budget *allowance
	// ends is how long its containers take to end after SIGTERM; at the end of
	// the grace the kubelet kills them.
	ends time.Duration
	// fault is asked before each eviction ("evict") and deletion ("delete") with
	// the number of calls before it; nil means that there is no fault.
	fault func(verb string, before int) fault

	asked     int
	told      time.Time
	grace     time.Duration
	verb      string
	disrupted bool
	goneAt    time.Time
}

// fault is what goes wrong with one call.
type fault struct {
	// err is the reply.
	err error
	// hang keeps the reply back until the caller gives up.
	hang bool
	// lost carries the call out all the same.
	lost bool
}

// allowance is a disruption budget shared by pods: one disruption at each of
// opens after the start.
type allowance struct {
	opens []time.Duration
	used  int
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return &cluster{
		t: t, began: time.Now(), changes: make(chan Change, 10_000), budgets: make(chan BudgetChange, 1000),
		pods: map[string]*resident{}, gone: map[types.UID]*resident{},
	}
}

// run puts a resident onto the node without telling it.
func (c *cluster) run(r *resident) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(r)
}

// put is run for a caller that holds mu.
func (c *cluster) put(r *resident) {
	if c.over {
		return
	}
	if r.pod.DeletionTimestamp != nil {
		now := metav1.Now()
		r.pod.DeletionTimestamp = &now
		r.told, r.grace, r.verb = now.Time, ownGrace(r.pod), "others"
		time.AfterFunc(min(r.ends, r.grace), func() { c.end(r) })
	}
	c.pods[r.pod.Namespace+"/"+r.pod.Name] = r
}

// bind puts a resident onto the node while the drain is under way.
func (c *cluster) bind(r *resident) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(r)
	c.tell(r, false)
}

// finish lets a pod's containers end by themselves.
func (c *cluster) finish(r *resident) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	r.pod.Status.Phase = corev1.PodSucceeded
	c.tell(r, false)
}

// snapshot returns the node's pods.
func (c *cluster) snapshot() []corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]corev1.Pod, 0, len(c.pods))
	for _, r := range c.pods {
		list = append(list, *r.pod.DeepCopy())
	}
	return list
}

// tell sends what the watch shows. The caller holds mu.
func (c *cluster) tell(r *resident, gone bool) {
	select {
	case c.changes <- Change{Pod: r.pod.DeepCopy(), Gone: gone}:
	default:
		c.t.Error("the watch of the cluster is full")
	}
}

// end removes the pod.
func (c *cluster) end(r *resident) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	key := r.pod.Namespace + "/" + r.pod.Name
	if c.pods[key] == r {
		delete(c.pods, key)
	}
	r.goneAt = time.Now()
	c.gone[r.pod.UID] = r
	c.tell(r, true)
}

// stop tells the pod to stop; as in a kubelet the first grace is final. The
// caller holds mu.
func (c *cluster) stop(r *resident, verb string, grace time.Duration) {
	if r.pod.DeletionTimestamp != nil {
		return
	}
	ends, seconds := metav1.NewTime(time.Now().Add(grace)), int64(grace/time.Second)
	r.pod.DeletionTimestamp, r.pod.DeletionGracePeriodSeconds = &ends, &seconds
	r.told, r.grace, r.verb = time.Now(), grace, verb
	c.order = append(c.order, r.pod.Name)
	c.tell(r, false)
	time.AfterFunc(min(r.ends, grace), func() { c.end(r) })
}

func (c *cluster) Evict(ctx context.Context, ref PodRef, grace time.Duration) error {
	return c.call(ctx, "evict", ref, grace, func(r *resident) error {
		running := r.pod.Status.Phase == corev1.PodRunning && r.pod.DeletionTimestamp == nil
		if b := r.budget; b != nil && running {
			allowed := -b.used
			for _, at := range b.opens {
				if time.Since(c.began) >= at {
					allowed++
				}
			}
			if allowed <= 0 {
				return budgetClosed()
			}
			b.used++
		}
		return nil
	})
}

func (c *cluster) Delete(ctx context.Context, ref PodRef, grace time.Duration) error {
	return c.call(ctx, "delete", ref, grace, func(*resident) error { return nil })
}

func (c *cluster) MarkDisrupted(ctx context.Context, ref PodRef, reason, message string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.find(ref)
	if err != nil {
		return err
	}
	if reason != "SpotInterruption" || message == "" {
		c.wrong = append(c.wrong, fmt.Sprintf("pod %q is disrupted for %q: %q", ref, reason, message))
	}
	// A condition on a pod that was told before comes too late for a Job.
	r.disrupted = r.pod.DeletionTimestamp == nil
	return ctx.Err()
}

// call is one request: its faults, its preconditions, and its effect if allow
// finds nothing against it.
func (c *cluster) call(
	ctx context.Context, verb string, ref PodRef, grace time.Duration, allow func(*resident) error,
) error {
	c.mu.Lock()
	c.calls++
	c.inFlight++
	c.busiest = max(c.busiest, c.inFlight)
	defer func() {
		c.inFlight--
		c.mu.Unlock()
	}()
	r, err := c.find(ref)
	if err != nil {
		return err
	}
	c.check(r, ref, grace)
	var trouble fault
	if r.fault != nil {
		trouble = r.fault(verb, r.asked)
	}
	r.asked++
	if trouble.lost || trouble.err == nil && !trouble.hang {
		if err := allow(r); err != nil {
			return err
		}
		c.stop(r, verb, grace)
	}
	if trouble.hang {
		c.mu.Unlock()
		<-ctx.Done()
		c.mu.Lock()
		return context.Cause(ctx)
	}
	return trouble.err
}

// find returns the pod, or the API server's refusal. The caller holds mu.
func (c *cluster) find(ref PodRef) (*resident, error) {
	r := c.pods[ref.String()]
	switch {
	case r == nil:
		return nil, noPod()
	case r.pod.UID != ref.UID:
		return nil, otherUID()
	default:
		return r, nil
	}
}

// check notes a call that no drain may make. The caller holds mu.
func (c *cluster) check(r *resident, ref PodRef, grace time.Duration) {
	own := ownGrace(r.pod)
	if c.countdown != nil {
		budget, _ := c.countdown.Budget()
		past := time.Now().Add(grace).Sub(budget.Deadline)
		if past > 0 && grace > min(leastGrace, own) {
			c.wrong = append(c.wrong, fmt.Sprintf("pod %q is told %v, which ends %v past the deadline", ref, grace, past))
		}
	}
	switch {
	case grace < time.Second || grace > own || grace%time.Second != 0:
		c.wrong = append(c.wrong, fmt.Sprintf("pod %q of grace %v is told %v", ref, own, grace))
	case r.verb == "others":
		c.wrong = append(c.wrong, fmt.Sprintf("pod %q was leaving and is told again", ref))
	}
}

// Announce writes the deadline into the pod, as the API server would.
func (c *cluster) Announce(_ context.Context, ref PodRef, deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.pods[ref.Namespace+"/"+ref.Name]
	if r == nil || r.pod.UID != ref.UID {
		return fmt.Errorf("pod %q is not there", ref)
	}
	r.pod = r.pod.DeepCopy()
	r.pod.Annotations[DeadlineAnnotation] = deadline.UTC().Format(time.RFC3339)
	return nil
}

// pod finds a pod of the node by its UID.
func (c *cluster) pod(uid types.UID) (*corev1.Pod, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.pods {
		if r.pod.UID == uid {
			return r.pod.DeepCopy(), true
		}
	}
	return nil, false
}

// drill is a drain of the cluster.
type drill struct {
	notice      time.Duration
	policy      Policy
	concurrency int
	// cordonedAfter is when the cordon is written; negative never.
	cordonedAfter time.Duration
	countdown     *Countdown
	// guarded lets the mover find the pods' budgets, of which the cluster's channel
	// tells.
	guarded  bool
	observed []PodOutcome
	// successor hands pods over; it needs guarded.
	successor Successor
}

// drain moves the node's pods away until ctx ends, or to its own end.
func (c *cluster) drain(ctx context.Context, d *drill) (Plan, []PodOutcome) {
	if d.countdown == nil {
		d.countdown = NewCountdown(NewBudget(c.began.Add(d.notice), c.began))
	}
	c.countdown = d.countdown
	cordoned := make(chan struct{})
	if d.cordonedAfter >= 0 {
		time.AfterFunc(d.cordonedAfter, func() { close(cordoned) })
	}
	mover := &Mover{
		Node: c, Policy: d.policy, Concurrency: max(1, d.concurrency),
		Reason: "SpotInterruption", Message: "the machine is being taken away",
		Log: slog.New(slog.DiscardHandler), Successor: d.successor,
		Observe: func(pod PodOutcome) { d.observed = append(d.observed, pod) },
	}
	if d.guarded {
		mover.Pods = c.pod
	}
	budget := NewBudget(c.began.Add(d.notice), c.began)
	given := NewPlan("n", c.snapshot(), budget, d.policy)
	before := slices.Clone(given.Moves)
	plan, outcomes := mover.Move(ctx, given, c.changes, c.budgets, d.countdown, cordoned)
	// Others read it meanwhile.
	if diff := cmp.Diff(before, given.Moves); diff != "" {
		c.t.Errorf("the moves of the plan that was given have changed (-before +after):\n%s", diff)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, call := range c.wrong {
		c.t.Error(call)
	}
	return plan, outcomes
}
