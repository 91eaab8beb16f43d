package e2e

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// isCritical asks to be moved on an advice, for pods.asks.
const isCritical = drain.CriticalAnnotation + `: "true"`

const (
	// adviceSeen is how long it may take until an advice is read: it is asked for every
	// quarter of a minute.
	adviceSeen = 20 * time.Second
	// adviceLasts is how long an advice is followed, the least that the agent takes, and
	// adviceAge how old it is when it can be read: the rest is what a test has to wait for.
	adviceLasts = time.Minute
	adviceAge   = 20 * time.Second
)

// newAdvised makes a scene whose agents follow an advice for as short a time as they can,
// with what an advice may move and what it must leave alone: a critical Deployment that its
// budget holds, a critical pod that no hand-over can help, and pods that are not critical.
func newAdvised(t *testing.T) *scene {
	t.Helper()
	s := newScene(t, lab.Shared(t))
	s.config = map[string]any{"respond": map[string]any{"ttl": adviceLasts.String()}}
	s.run(5,
		pods{name: "dns", replicas: 1, ready: 3 * time.Second, asks: isCritical}.manifest(s), budget("dns", "dns", "minAvailable", "1"), service("dns"),
		pods{name: "db", kind: "StatefulSet", replicas: 1, asks: isCritical}.manifest(s), budget("db", "db", "minAvailable", "1"),
		pods{name: "web", replicas: 3}.manifest(s))
	return s
}

// advise makes an advice readable, and returns the moment at which it lapses.
func (s *scene) advise() time.Time {
	s.noticed = time.Now()
	s.imds.Rebalance(-adviceAge)
	return s.noticed.Add(adviceLasts - adviceAge)
}

// avoided is a condition for WaitNode: for a notice of that kind the scheduler prefers
// other nodes, and nothing more than that.
func avoided(of agent.Kind) func(*corev1.Node) bool {
	soft := corev1.Taint{Key: drain.TaintKey, Value: string(of), Effect: corev1.TaintEffectPreferNoSchedule}
	return func(node *corev1.Node) bool {
		return slices.Contains(node.Spec.Taints, soft) && !node.Spec.Unschedulable && node.Annotations[drain.StateAnnotation] != ""
	}
}

// noneForced fails the test for a pod that was deleted rather than evicted.
func (s *scene) noneForced() {
	s.t.Helper()
	for _, r := range s.requests() {
		if r.Resource == "pods" && r.Verb == "delete" {
			s.t.Errorf("an advice deleted pod %q", r.Name)
		}
	}
}

// untouched fails the test for every pod of the doomed node that was told to stop, but for
// those of the named workloads, which had all of their grace; and for every deletion, since
// an advice forces nothing.
func (s *scene) untouched(but ...string) {
	s.t.Helper()
	var told []string
	for _, name := range but {
		for _, life := range s.ofWorkload(name) {
			told = append(told, life.Name)
			if life.End != lab.Exited || life.Grace != 5*time.Second {
				s.t.Errorf("pod %s ended as %s with %s of grace, want %s with all of its own", life.Name, life.End, life.Grace, lab.Exited)
			}
		}
	}
	for _, life := range s.lives() {
		if !life.ToldAt.IsZero() && !slices.Contains(told, life.Name) {
			s.t.Errorf("pod %s was told to stop", life.Name)
		}
	}
	s.noneForced()
	s.toldOnce()
}

func TestACriticalPodIsReplacedOnAnAdviceAndTheNodePutBackWhenThatLapses(t *testing.T) {
	t.Parallel()
	for name, interfere := range map[string]func(s *scene, first *agentrun.Agent){
		"one agent follows it to its end": func(*scene, *agentrun.Agent) {},
		"the agent is killed while a pod is handed over, and the next goes on": func(s *scene, first *agentrun.Agent) {
			_, err := first.WaitLog(s.within(adviceSeen), "Handed pod over")
			s.must(err)
			s.must(first.Kill())
			s.start()
		},
		"the agent is killed when the pod has left, and the next puts the node back": func(s *scene, first *agentrun.Agent) {
			_, err := first.WaitRecord(s.within(adviceSeen+15*time.Second), leaves("dns"))
			s.must(err)
			s.must(first.Kill())
			s.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAdvised(t)
			least := s.leastReady("dns", 1)
			a := s.ready()
			lapses := s.advise()
			s.must(s.lab.WaitNode(s.within(adviceSeen), s.doomed.Name(), avoided(agent.RebalanceAdvice)))
			interfere(s, a)

			s.must(s.lab.WaitNode(s.within(time.Until(lapses)+20*time.Second), s.doomed.Name(), clean))
			if off := time.Since(lapses); off < -2*time.Second || off > 12*time.Second {
				t.Errorf("the node was put back %s after the advice had lapsed, want at once", off)
			}
			if ready := least(); slices.Min(ready) < 1 {
				t.Errorf("%d endpoints were ready at the worst, want 1: %v", slices.Min(ready), ready)
			}
			s.untouched("dns")
			s.must(s.lab.WaitPods(s.within(10*time.Second), s.namespace, "", lab.AllReady(5)))

			// The advice can be read still, and is not followed again.
			<-time.After(5 * time.Second)
			if node := s.node(); !clean(node) || node.Spec.Unschedulable {
				t.Errorf("the node is marked again: %+v", node.Spec)
			}
		})
	}
}

func TestAnAdviceWhoseAgentIsGoneUntilItHasLapsedIsTakenBackByTheNext(t *testing.T) {
	t.Parallel()
	s := newAdvised(t)
	least := s.leastReady("dns", 1)
	first := s.ready()
	lapses := s.advise()
	_, err := first.WaitLog(s.within(adviceSeen), "Handed pod over")
	s.must(err)
	s.must(first.Kill())
	<-time.After(time.Until(lapses) + 2*time.Second)
	s.start()

	s.must(s.lab.WaitNode(s.within(20*time.Second), s.doomed.Name(), clean))
	s.must(s.lab.WaitPods(s.within(30*time.Second), s.namespace, "app=dns", lab.AllReady(1)))
	if ready := least(); slices.Min(ready) < 1 {
		t.Errorf("%d endpoints were ready at the worst, want 1: %v", slices.Min(ready), ready)
	}
	s.noneForced()
}

func TestAnInterruptionTakesAnAdviceOver(t *testing.T) {
	t.Parallel()
	s := newAdvised(t)
	a := s.ready()
	s.advise()
	_, err := a.WaitLog(s.within(adviceSeen), "Handed pod over")
	s.must(err)
	s.interrupt(20 * time.Second)
	s.must(s.lab.WaitNode(s.within(5*time.Second), s.doomed.Name(), cordoned))
	report := s.report(a, 25*time.Second)

	if got := outcome(t, report, "dns"); got.Path != drain.HandedOver {
		t.Errorf("the pod took the path %s (hand-over %q), want %s", got.Path, got.HandOver, drain.HandedOver)
	}
	if !report.Complete() {
		t.Errorf("pods were left behind: %+v", report.Pods)
	}
	s.noneLost()
	s.toldOnce()
}
