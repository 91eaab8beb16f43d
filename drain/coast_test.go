package drain

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// coast is an API server with the controllers behind it and many nodes before
// it, on the clock of the bubble that it is made in. It is what drains share: a
// disruption budget is one object that every eviction writes, and so does the
// controller that counts its pods, each under an optimistic lock.
type coast struct {
	t     *testing.T
	began time.Time

	mu        sync.Mutex
	random    *rand.Rand
	pods      map[types.UID]*tenant
	shores    []*shore
	workloads []*workload
	// asked counts the eviction calls by what the caller read in the reply,
	// deleted the deletions.
	asked   map[Verdict]int
	deleted int
	// slower multiplies the time that all work in the API server takes.
	slower time.Duration
}

// tenant is a pod on a node that is going away.
type tenant struct {
	pod        *corev1.Pod
	of         *workload
	on         *shore
	ends       time.Duration
	told, gone time.Time
}

// workload is a Deployment and its disruption budget.
type workload struct {
	coast *coast
	// needed is how many pods the budget keeps, healthy how many are Ready and
	// not on their way out.
	needed, healthy int
	// replaced is how long the replacement of a pod takes to be Ready.
	replaced time.Duration
	// pdb is the budget as last written, a new object each time.
	pdb *policyv1.PodDisruptionBudget
	// counting is whether the controller is about to count, lost how many of
	// its writes in a row came too late.
	counting bool
	lost     int
	// openings counts how often the budget began to allow any, the first time
	// included.
	openings int
}

// shore is one node and its agent's view: the watches are late and in order.
type shore struct {
	*coast
	name                  string
	changes               chan Change
	budgets               chan BudgetChange
	changesDue, budgetDue time.Time
	// watches is set when the agent has begun to watch the budgets.
	watches  bool
	outcomes []PodOutcome
}

func newCoast(t *testing.T, seed uint64, nodes int) *coast {
	t.Helper()
	c := &coast{
		t: t, began: time.Now(), pods: map[types.UID]*tenant{}, asked: map[Verdict]int{}, slower: 1,
		random: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // repeatable on purpose
	}
	for i := range nodes {
		c.shores = append(c.shores, &shore{
			coast: c, name: fmt.Sprintf("n%02d", i),
			changes: make(chan Change, 10_000), budgets: make(chan BudgetChange, 10_000),
		})
	}
	return c
}

// deploy adds a workload with pods on the nodes, in turn, and others elsewhere;
// its budget allows that many of all to be away.
func (c *coast) deploy(name string, pods, elsewhere, allowed int, with ...trait) *workload {
	w := &workload{
		coast: c, needed: pods + elsewhere - allowed, healthy: pods + elsewhere, replaced: 2 * time.Second,
		pdb: newPDB(name, allowed), openings: 1,
	}
	w.pdb.Status.ExpectedPods, w.pdb.Status.DesiredHealthy = int32(w.healthy), int32(w.needed) //nolint:gosec // small
	w.pdb.Status.CurrentHealthy = w.pdb.Status.ExpectedPods
	for i := range pods {
		pod := newPod(fmt.Sprintf("%s-%03d", name, i), label("app", name), grace(10))
		for _, apply := range with {
			apply(pod)
		}
		on := c.shores[i%len(c.shores)]
		c.pods[pod.UID] = &tenant{pod: pod, of: w, on: on, ends: c.between(time.Second, 3*time.Second)}
	}
	c.workloads = append(c.workloads, w)
	return w
}

// newPDB is a budget of the pods with that value of the label "app".
func newPDB(app string, allowed int) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app, UID: types.UID("uid-pdb-" + app), Generation: 1},
		Spec: policyv1.PodDisruptionBudgetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
		},
		Status: policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: int32(allowed)}, //nolint:gosec // small
	}
}

// between draws a duration. The caller holds mu, or is alone.
func (c *coast) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.random.Int64N(int64(most-least)))
}

// take lets an amount of time pass, as work in the API server does.
func (c *coast) take(least, most time.Duration) {
	c.mu.Lock()
	d := c.between(least, most)
	c.mu.Unlock()
	<-time.After(c.slower * d)
}

// late passes on what a watch shows, 20 to 50 ms late and never out of order.
// The caller holds mu.
func (c *coast) late(due *time.Time, deliver func()) {
	*due = latest(due.Add(1), time.Now().Add(c.between(20*time.Millisecond, 50*time.Millisecond)))
	time.AfterFunc(time.Until(*due), deliver)
}

// write changes what the budget allows, and which pods it has let go that may
// not have been deleted yet. The caller holds mu.
func (w *workload) write(allowed int, promised map[string]metav1.Time) {
	if allowed > 0 && w.pdb.Status.DisruptionsAllowed == 0 {
		w.openings++
	}
	w.pdb = w.pdb.DeepCopy()
	w.pdb.Status.DisruptedPods = promised
	w.pdb.Status.DisruptionsAllowed = int32(allowed)               //nolint:gosec // small
	w.pdb.Status.CurrentHealthy = int32(w.healthy - len(promised)) //nolint:gosec // small
	change := BudgetChange{PDB: w.pdb}
	for _, s := range w.coast.shores {
		if !s.watches {
			continue
		}
		w.coast.late(&s.budgetDue, func() { s.budgets <- change })
	}
	w.count()
}

// count lets the controller count the pods in a moment. The caller holds mu.
func (w *workload) count() {
	if w.counting {
		return
	}
	w.counting = true
	time.AfterFunc(w.coast.between(50*time.Millisecond, 100*time.Millisecond), w.recount)
}

// recount is the controller: it reads, counts and writes, and begins anew, each
// time later, where somebody else has written meanwhile.
func (w *workload) recount() {
	c := w.coast
	c.mu.Lock()
	w.counting = false
	read, promised := w.pdb, map[string]metav1.Time{}
	for name, at := range read.Status.DisruptedPods {
		if c.pods[types.UID("uid-"+name)].told.IsZero() {
			promised[name] = at
		}
	}
	allowed := max(0, w.healthy-len(promised)-w.needed)
	same := int(read.Status.DisruptionsAllowed) == allowed && len(read.Status.DisruptedPods) == len(promised)
	c.mu.Unlock()
	if same {
		return
	}
	c.take(2*time.Millisecond, 8*time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.pdb != read {
		w.lost++
		time.AfterFunc(min(5*time.Millisecond<<w.lost, time.Second), w.recount)
		return
	}
	w.lost = 0
	w.write(allowed, promised)
}

// Evict is the eviction handler of Kubernetes as far as budgets go
// (pkg/registry/core/pod/storage/eviction.go). It goes on when its caller has
// given up, and then has spent the budget for nothing.
func (s *shore) Evict(ctx context.Context, ref PodRef, grace time.Duration) error {
	reply := make(chan error, 1)
	go func() { reply <- s.evict(ctx, ref, grace) }()
	var err error
	select {
	case err = <-reply:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[Classify(err).Verdict]++
	return err
}

func (s *shore) evict(ctx context.Context, ref PodRef, grace time.Duration) error {
	// With the two below, 10 to 40 ms of work where nothing is in the way.
	s.take(3*time.Millisecond, 12*time.Millisecond)
	const tries = 20
	for range tries {
		s.mu.Lock()
		p := s.pods[ref.UID]
		if p == nil || !p.gone.IsZero() {
			s.mu.Unlock()
			return noPod()
		}
		read := p.of.pdb
		s.mu.Unlock()
		if read.Status.DisruptionsAllowed <= 0 {
			return budgetClosed()
		}
		s.take(3*time.Millisecond, 12*time.Millisecond)
		s.mu.Lock()
		if p.of.pdb != read {
			s.mu.Unlock()
			s.take(500*time.Millisecond/s.slower, 550*time.Millisecond/s.slower)
			continue
		}
		promised := map[string]metav1.Time{p.pod.Name: metav1.Now()}
		maps.Copy(promised, read.Status.DisruptedPods)
		p.of.write(int(read.Status.DisruptionsAllowed)-1, promised)
		s.mu.Unlock()
		s.take(4*time.Millisecond, 16*time.Millisecond)
		if ctx.Err() == nil {
			s.stop(p, grace)
		}
		return nil
	}
	return budgetContended()
}

// Delete asks no budget.
func (s *shore) Delete(_ context.Context, ref PodRef, grace time.Duration) error {
	s.take(5*time.Millisecond, 20*time.Millisecond)
	s.mu.Lock()
	p := s.pods[ref.UID]
	s.deleted++
	s.mu.Unlock()
	s.stop(p, grace)
	return nil
}

func (s *shore) MarkDisrupted(context.Context, PodRef, string, string) error {
	s.take(3*time.Millisecond, 12*time.Millisecond)
	return nil
}

// Announce is for pods that ask for it, and none here does.
func (s *shore) Announce(_ context.Context, ref PodRef, _ time.Time) error {
	s.t.Errorf("pod %q is told the deadline and did not ask", ref)
	return nil
}

// stop tells a pod to stop, which its ReplicaSet answers with another one.
func (s *shore) stop(p *tenant, grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.told.IsZero() {
		return
	}
	p.told = time.Now()
	p.pod = p.pod.DeepCopy()
	p.pod.DeletionTimestamp = &metav1.Time{Time: p.told.Add(grace)}
	p.of.healthy--
	p.of.count()
	s.show(p)
	time.AfterFunc(p.of.replaced, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.of.healthy++
		p.of.count()
	})
	time.AfterFunc(min(p.ends, grace), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.gone = time.Now()
		s.show(p)
	})
}

// show lets the watch of the pod's node see it. The caller holds mu.
func (s *shore) show(p *tenant) {
	change := Change{Pod: p.pod, Gone: !p.gone.IsZero()}
	s.late(&p.on.changesDue, func() { p.on.changes <- change })
}

// drain lets the node's agent move its pods away.
func (s *shore) drain(ctx context.Context, seed uint64, notice time.Duration) {
	random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // repeatable on purpose
	var pods []corev1.Pod
	s.mu.Lock()
	for _, p := range s.pods {
		if p.on == s {
			pods = append(pods, *p.pod)
		}
	}
	s.watches = true
	for _, w := range s.workloads {
		change := BudgetChange{PDB: w.pdb}
		s.late(&s.budgetDue, func() { s.budgets <- change })
	}
	s.late(&s.budgetDue, func() { s.budgets <- BudgetChange{} })
	s.mu.Unlock()
	mover := &Mover{
		Node: s, Concurrency: 32, Log: slog.New(slog.DiscardHandler), Pods: s.pod,
		Spread: func(over time.Duration) time.Duration { return time.Duration(random.Int64N(int64(over))) },
	}
	countdown := NewCountdown(NewBudget(time.Now().Add(notice), time.Now()))
	budget, _ := countdown.Budget()
	cordoned := make(chan struct{})
	close(cordoned)
	_, s.outcomes = mover.Move(ctx, NewPlan(s.name, pods, budget, Policy{}), s.changes, s.budgets, countdown, cordoned)
}

func (s *shore) pod(uid types.UID) (*corev1.Pod, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pods[uid]; p != nil {
		return p.pod, true
	}
	return nil, false
}

// storm takes all nodes: their agents see it within over, as they poll at
// different moments, and it returns when all have ended.
func (c *coast) storm(over, notice time.Duration) {
	var agents sync.WaitGroup
	for i, s := range c.shores {
		c.mu.Lock()
		seed := c.random.Uint64()
		c.mu.Unlock()
		delay := over * time.Duration(i) / time.Duration(len(c.shores))
		agents.Go(func() {
			<-time.After(delay)
			s.drain(c.t.Context(), seed, notice-delay)
		})
	}
	agents.Wait()
	// What the API server does yet ends with the bubble's clock still running.
	<-time.After(time.Minute)
}
