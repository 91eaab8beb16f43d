package drain

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// As with the other drains, two minutes keep five seconds: a pod of the default grace
// of 30 s has its latest moment 85 s after the start.
func TestAGentleDrainLeavesWhatItCouldOnlyForce(t *testing.T) {
	t.Parallel()
	const s = time.Second
	refuse := func(err error) func(string, int) fault {
		return func(string, int) fault { return fault{err: err} }
	}
	cases := map[string]struct {
		pod  resident
		want story
		over time.Duration
	}{
		"it leaves at once without a budget":          {resident{ends: 3 * s}, story{Evicted, 0, 3 * s, 30 * s}, 3 * s},
		"it leaves when its budget opens":             {resident{budget: &allowance{opens: []time.Duration{80 * s}}, ends: s}, story{Evicted, 80 * s, 81 * s, 30 * s}, 81 * s},
		"it is asked at its latest moment, too":       {resident{budget: &allowance{opens: []time.Duration{85 * s}}, ends: s}, story{Evicted, 85 * s, 86 * s, 30 * s}, 86 * s},
		"it waits for its completion until then":      {resident{pod: newPod("p", waits), ends: s}, story{Evicted, 85 * s, 86 * s, 30 * s}, 86 * s},
		"its budget stays closed":                     {resident{budget: closed()}, story{Spared, never, never, 0}, 85*s + lateness},
		"its budget opens too late for all its grace": {resident{budget: &allowance{opens: []time.Duration{86 * s}}}, story{Spared, never, never, 0}, 85*s + lateness},
		"its grace is longer than the notice":         {resident{pod: newPod("p", grace(600))}, story{Spared, never, never, 0}, 2 * s},
		"two budgets cover it":                        {resident{fault: refuse(twoBudgets())}, story{Spared, never, never, 0}, 2 * s},
		"a policy denies its eviction":                {resident{fault: refuse(deniedByPolicy())}, story{Spared, never, never, 0}, 85*s + lateness},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cluster, pod := newCluster(t), c.pod
				if pod.pod == nil {
					pod.pod = newPod("p")
				}
				cluster.run(&pod)
				_, outcomes := cluster.drain(t.Context(), &drill{notice: 2 * time.Minute, policy: Policy{Gentle: true}})
				if diff := cmp.Diff(map[string]story{"p": c.want}, stories(cluster, outcomes), cmp.AllowUnexported(story{})); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
				if over := time.Since(cluster.began); over != c.over {
					t.Errorf("the drain was over after %v, want %v: nobody waits for what cannot move any more", over, c.over)
				}
				if refused := c.want.path == Spared && outcomes[0].Tries > 0; (outcomes[0].Err != "") != refused {
					t.Errorf("the last refusal is %q after %d tries", outcomes[0].Err, outcomes[0].Tries)
				}
				report := Report{Pods: outcomes}
				if report.Complete() != (c.want.path != Spared) {
					t.Errorf("the report says complete: %v", report.Complete())
				}
			})
		})
	}
}

// The clusters of TestEveryMoveEndsInExactlyOneOutcome, in which anything may go wrong.
func TestAGentleDrainNeverForcesAndNeverShortensAGrace(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // repeatable on purpose
				cluster := newCluster(t)
				d := randomDrill(random, cluster)
				d.policy.Gentle = true
				if from := int32(0); seed%2 == 0 {
					d.policy.Only = &Selection{Priority: &from}
				}
				_, outcomes := cluster.drain(t.Context(), d)
				for _, out := range outcomes {
					r := cluster.gone[out.UID]
					if r == nil {
						r = cluster.pods[out.String()]
					}
					switch {
					case r.verb == "delete":
						t.Errorf("pod %q was deleted past its budget: %+v", out.PodRef, out)
					case r.verb == "evict" && r.grace != ownGrace(r.pod):
						t.Errorf("pod %q was told to stop with %v of %v: %+v", out.PodRef, r.grace, ownGrace(r.pod), out)
					case out.Path == Spared && (r.verb == "evict" || !out.ToldAt.IsZero()):
						t.Errorf("pod %q was told to stop, and is reported as left alone: %+v", out.PodRef, out)
					case out.Path == Clamped || out.Path == Forced || out.Path == Lost && d.policy.Only != nil:
						t.Errorf("pod %q took the path %s", out.PodRef, out.Path)
					}
				}
			})
		})
	}
}

// waits makes a pod ask to be left running for as long as that can be.
func waits(pod *corev1.Pod) { pod.Annotations = map[string]string{WaitAnnotation: "true"} }

func TestADrainThatIsTakenOverSaysThatItWasCalledOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cluster := newCluster(t)
		cluster.run(&resident{pod: newPod("p"), budget: closed()})
		ctx, takeOver := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Second, func() { takeOver(ErrTakenOver) })
		_, outcomes := cluster.drain(ctx, &drill{notice: time.Minute, policy: Policy{Gentle: true}})
		if over := time.Since(cluster.began); over != 10*time.Second || outcomes[0].Path != CalledOff {
			t.Errorf("it ended after %v with %+v, want %s at once", over, outcomes[0], CalledOff)
		}
	})
}

func TestADrainThatIsTakenOverLeavesItsHandOversToTheNext(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, costing("7"))
	old := s.pod("web")
	ctx, takeOver := context.WithCancelCause(t.Context())
	h := s.handOversThrough(func(request *http.Request, next http.RoundTripper) (*http.Response, error) {
		// Its Deployment is followed once the pod is handed over.
		if strings.Contains(request.URL.RequestURI(), "/deployments?") {
			takeOver(ErrTakenOver)
		}
		return next.RoundTrip(request)
	})
	if outcomes := s.drain(ctx, h, Policy{HandOver: HandOverAlways}, 2*time.Minute); outcomes[0].Path != CalledOff {
		t.Fatalf("the drain ended with %+v, want one pod that was called off", outcomes)
	}
	pod, err := h.client.pod(t.Context(), old.Namespace, old.Name)
	s.must(err)
	if handOver, err := HandOverOf(pod); err != nil || handOver == nil {
		t.Errorf("the pod was taken back: %+v, %v", pod.ObjectMeta, err)
	}
}
