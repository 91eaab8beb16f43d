package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/placementrun"
)

// servedBy makes the API server call a replica on every connection that it opens from
// now on, and cuts the others.
func (c *coast) servedBy(r *placementrun.Replica) {
	c.t.Helper()
	c.installed.Front.HandTo(r.Reviews())
	c.installed.Front.Cut()
	c.placesPods()
}

// outlivesItsLeader kills the replica that leads and serves in the middle of a rollout.
// Every pod has to be created in time, and the other replica has to go on with both.
func (c *coast) outlivesItsLeader() {
	c.t.Helper()
	victim := c.leader()
	c.servedBy(victim)
	c.serve() // The connection stays with the victim; those after it go to either.
	const pods = 30
	rollout := workload{name: "ingress-rollout", replicas: pods, labels: edgeLabel + ": " + edgeTier}
	before, inTimeBefore := c.creations()
	other := without(c.replicas, victim)[0]
	asked := c.decisions(other)
	killed := make(chan error, 1)
	go func() {
		err := c.WaitPods(c.within(30*time.Second), c.edge, "app=ingress-rollout", func(pods []corev1.Pod) bool { return len(pods) > 0 })
		killed <- errors.Join(err, victim.Kill())
	}()
	c.must(c.Apply(c.t.Context(), c.edge, rollout.manifest()))
	c.must(<-killed)
	died := time.Now()
	unplaced, stranded := 0, 0
	c.must(c.WaitPods(c.within(time.Minute), c.edge, "app=ingress-rollout", func(all []corev1.Pod) bool {
		unplaced, stranded = 0, 0
		for i := range all {
			if !placed(&all[i]) {
				unplaced++
			}
			if onSpot(all[i]) {
				stranded++
			}
		}
		return lab.AllReady(pods)(all)
	}))
	created, inTime := c.creations()
	c.t.Logf("a replica was killed in the middle of a rollout of %d pods: %d of %d pods created within %s, %d unplaced",
		pods, inTime-inTimeBefore, created-before, createdWithin, unplaced)
	if created-before < pods {
		c.t.Errorf("the API server counts %d creations, want %d at least", created-before, pods)
	}
	if late := (created - before) - (inTime - inTimeBefore); late > 0 {
		c.t.Errorf("%d pods were not created within %s", late, createdWithin)
	}
	if unplaced == 0 && c.decisions(other) == asked {
		c.t.Error("the rollout was over before the replica was killed")
	}

	c.replicas = without(c.replicas, victim)
	c.serve()
	survivor := c.leader()
	c.t.Logf("%s led %.1f s after %s was killed", survivor.Instance(), time.Since(died).Seconds(), victim.Instance())
	governs := func(n, onSpot int32) func(v1alpha1.PlacementPolicyStatus) bool {
		return func(s v1alpha1.PlacementPolicyStatus) bool {
			return s.Pods != nil && *s.Pods == n && s.OnSpot != nil && *s.OnSpot == onSpot
		}
	}
	c.policy("edge", fmt.Sprintf("that %d of %d pods are on spot", stranded, pods), governs(pods, int32(stranded)))
	c.scale(c.edge, rollout.name, 0)
	c.policy("edge", "that it governs no pod", governs(0, 0))
	c.placesPods()
}

func without(all []*placementrun.Replica, one *placementrun.Replica) []*placementrun.Replica {
	var others []*placementrun.Replica
	for _, r := range all {
		if r != one {
			others = append(others, r)
		}
	}
	return others
}

// creations counts the pods that clients asked the API server to create, and those of
// them that were answered in time. Dry runs do not count.
func (c *coast) creations() (all, inTime int) {
	c.t.Helper()
	metrics, err := c.installed.APIServerMetrics(c.t.Context())
	c.must(err)
	bound := fmt.Sprintf(`le="%.1f"`, createdWithin.Seconds())
	for series, value := range metrics {
		labels, is := strings.CutPrefix(series, "apiserver_request_duration_seconds_bucket{")
		if !is || !strings.Contains(labels, `resource="pods"`) || !strings.Contains(labels, `subresource=""`) ||
			!strings.Contains(labels, `verb="POST"`) || !strings.Contains(labels, `dry_run=""`) {
			continue
		}
		switch {
		case strings.Contains(labels, `le="+Inf"`):
			all += int(value)
		case strings.Contains(labels, bound):
			inTime += int(value)
		}
	}
	return all, inTime
}

// losesNothingToARestart replaces both replicas, one after the other, as a rollout of
// the program does, while pods are created. Not one may fail, or go unplaced.
func (c *coast) losesNothingToARestart() {
	c.t.Helper()
	for _, old := range c.replicas {
		c.start()
		c.servedBy(old)
		c.serve()
		before := c.decisions(old)
		s := c.newStream()
		s.more(50)
		if c.decisions(old) == before {
			c.t.Errorf("%s is not asked: it is no loss", old.Instance())
		}
		c.must(old.Terminate())
		// An endpoint that goes is called for a while longer.
		s.more(50)
		c.replicas = without(c.replicas, old)
		c.serve()
		code, err := old.Wait(c.within(linger + 10*time.Second))
		c.must(err)
		s.more(50)
		s.end()
		c.t.Logf("%d pods were created while %s was replaced: %d failed, %d unplaced", s.created, old.Instance(), s.failed, s.unplaced)
		if code != 0 {
			c.t.Errorf("%s ended with %d after SIGTERM, want 0", old.Instance(), code)
		}
		if s.failed > 0 || s.unplaced > 0 {
			c.t.Errorf("%d of %d pods failed, %d went unplaced; the last error was %v", s.failed, s.created, s.unplaced, s.err)
		}
	}
	c.clear()
}

// decisions is how many decisions a replica has made.
func (c *coast) decisions(r *placementrun.Replica) float64 {
	c.t.Helper()
	metrics, err := r.Metrics(c.t.Context())
	c.must(err)
	sum := 0.0
	for series, count := range metrics {
		if strings.HasPrefix(series, "ebbtide_placement_decisions_total{") {
			sum += count
		}
	}
	return sum
}

// stream creates pods until it is ended, by four clients.
type stream struct {
	c     *coast
	group *errgroup.Group
	stop  context.CancelFunc

	mu                        sync.Mutex
	created, failed, unplaced int
	err                       error         // the last
	changed                   chan struct{} // closed and replaced with each pod
}

// perClient is the time between two pods of one client.
const perClient = 50 * time.Millisecond

func (c *coast) newStream() *stream {
	ctx, stop := context.WithCancel(c.t.Context())
	s := &stream{c: c, group: &errgroup.Group{}, stop: stop, changed: make(chan struct{})}
	for range 4 {
		s.group.Go(func() error {
			ticker := time.NewTicker(perClient)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-ticker.C:
					s.create(context.WithoutCancel(ctx)) // A pod that is asked for is waited for.
				}
			}
		})
	}
	c.t.Cleanup(s.end)
	return s
}

// create creates one pod, which no scheduler is to look at: many are created, and where
// they run is not the matter here.
func (s *stream) create(ctx context.Context) {
	pod := critical(s.c.edge)
	pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "lab.ebbtide.dev/never"}}
	made, err := s.c.Client().CoreV1().Pods(s.c.edge).Create(ctx, pod, metav1.CreateOptions{})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.failed, s.err = s.failed+1, err
	case !placed(made):
		s.unplaced++
	}
	s.created++
	close(s.changed)
	s.changed = make(chan struct{})
}

// more waits until so many more pods were created.
func (s *stream) more(pods int) {
	s.c.t.Helper()
	ctx := s.c.within(30 * time.Second)
	s.mu.Lock()
	target := s.created + pods
	s.mu.Unlock()
	for {
		s.mu.Lock()
		done, changed := s.created >= target, s.changed
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			s.c.t.Fatalf("waiting for %d more pods: %v", pods, context.Cause(ctx))
		}
	}
}

// end ends the stream. A second call does nothing.
func (s *stream) end() {
	s.stop()
	_ = s.group.Wait() // It has no errors.
}
