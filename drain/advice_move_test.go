package drain

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// heir hands pods over in memory: each is refused, or its replacement is there after
// some time.
type heir struct {
	refusal Refusal
	// takes is how long a replacement takes; negative means that none comes.
	takes time.Duration
	// begun counts the hand-overs that were asked for, awaited those that wait.
	begun, awaited int
}

func (h *heir) Begin(context.Context, *corev1.Pod) (Refusal, error) {
	h.begun++
	return h.refusal, nil
}

func (h *heir) Await(ctx context.Context, _ PodRef) (Succession, string, error) {
	h.awaited++
	defer func() { h.awaited-- }()
	if h.takes < 0 {
		<-ctx.Done()
		return "", "", context.Cause(ctx)
	}
	return Ready, "", pause(ctx, h.takes, nil)
}

func (h *heir) Undo(context.Context, PodRef) (bool, error) { return false, nil }

// An advice of an hour keeps five seconds: a pod of the default grace has its latest
// moment 35 s before the end.
func TestAnAdviceIsFollowedGentlyAndWithoutHurry(t *testing.T) {
	t.Parallel()
	const s, end = time.Second, time.Hour - 35*time.Second + lateness
	refuse := func(err error) func(string, int) fault { return always(fault{err: err}) }
	cases := map[string]struct {
		pods []*resident
		heir *heir
		want map[string]story
		// calls is the most that the API server and the heir are asked.
		calls int
		over  time.Duration
	}{
		"a pod leaves at once": {
			pods: []*resident{{pod: newPod("a"), ends: s}},
			want: map[string]story{"a": {Evicted, 0, s, 30 * s}}, calls: 1, over: 2 * s,
		},
		"a pod leaves when its replacement is there": {
			pods: []*resident{{pod: newPod("a"), ends: s}}, heir: &heir{takes: 20 * s},
			want: map[string]story{"a": {HandedOver, 20 * s, 21 * s, 30 * s}}, calls: 2, over: 21 * s,
		},
		"a pod that cannot be handed over leaves within its budget": {
			pods: []*resident{{pod: newPod("a"), ends: s}}, heir: &heir{refusal: NotOfADeployment},
			want: map[string]story{"a": {Evicted, budgetWait, budgetWait + s, 30 * s}}, calls: 2, over: 2 * s,
		},
		"a pod whose replacement never comes stays": {
			pods: []*resident{{pod: newPod("a")}}, heir: &heir{takes: -1},
			want: map[string]story{"a": {Spared, never, never, 0}}, calls: 1, over: end,
		},
		"a pod whose turn to be handed over never comes stays": {
			pods: []*resident{{pod: newPod("a")}}, heir: &heir{refusal: SurgeInUse},
			want: map[string]story{"a": {Spared, never, never, 0}}, calls: 130, over: end,
		},
		"a pod whose budget stays closed stays": {
			pods: []*resident{{pod: newPod("a"), budget: closed()}},
			want: map[string]story{"a": {Spared, never, never, 0}}, calls: 130, over: end,
		},
		"a pod whose eviction a policy denies stays": {
			pods: []*resident{{pod: newPod("a"), fault: refuse(deniedByPolicy())}},
			want: map[string]story{"a": {Spared, never, never, 0}}, calls: 130, over: end,
		},
		"a pod that the API server never answers for stays": {
			pods: []*resident{{pod: newPod("a"), fault: refuse(errUnavailable)}},
			want: map[string]story{"a": {Spared, never, never, 0}}, calls: 130, over: end,
		},
		"a system pod does not wait for a pod that stays": {
			pods: []*resident{
				{pod: newPod("web"), fault: refuse(twoBudgets())},
				{pod: newPod("api"), fault: refuse(deniedByPolicy())},
				{pod: newPod("dns", withPriority(systemPriority)), ends: s},
			},
			want:  map[string]story{"web": {Spared, never, never, 0}, "api": {Spared, never, never, 0}, "dns": {Evicted, 0, s, 30 * s}},
			calls: 132, over: end,
		},
		"a pod that ends for longer than the advice is not lost": {
			pods: []*resident{{pod: newPod("a", terminating, grace(7200)), ends: 2 * time.Hour}},
			want: map[string]story{"a": {AlreadyGone, never, never, 0}}, over: time.Hour - 5*s/4,
		},
		"a pod whose grace is longer than the advice stays": {
			pods: []*resident{{pod: newPod("a", grace(7200))}},
			want: map[string]story{"a": {Spared, never, never, 0}}, over: 2 * s,
		},
		"pods that nobody selects are left alone": {
			pods: []*resident{{pod: newPod("a", annotation(CriticalAnnotation, "false"))}, {pod: newPod("b", withPriority(-1))}},
			want: map[string]story{}, over: 2 * s,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cluster, from := newCluster(t), int32(0)
				for _, pod := range c.pods {
					cluster.run(pod)
				}
				d := &drill{
					notice: time.Hour, concurrency: 4, guarded: c.heir != nil,
					policy: Policy{Gentle: true, HandOver: HandOverAlways, Only: &Selection{Priority: &from}},
				}
				if c.heir != nil {
					d.successor = c.heir
				}
				_, outcomes := cluster.drain(t.Context(), d)
				if diff := cmp.Diff(c.want, stories(cluster, outcomes), cmp.AllowUnexported(story{})); diff != "" {
					t.Errorf("outcomes (-want +got):\n%s", diff)
				}
				if over := time.Since(cluster.began); over != c.over {
					t.Errorf("it was over after %v, want %v", over, c.over)
				}
				asked := cluster.calls
				if c.heir != nil {
					asked += c.heir.begun
					if c.heir.awaited != 0 {
						t.Errorf("%d hand-overs are awaited still", c.heir.awaited)
					}
				}
				if asked > c.calls {
					t.Errorf("%d calls, want %d at the most", asked, c.calls)
				}
			})
		})
	}
}

// A pod that is bound in spite of the taint would be moved for ever.
func TestAPodThatIsBoundInSpiteOfAnAdviceStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cluster, from := newCluster(t), int32(0)
		cluster.run(&resident{pod: newPod("a"), ends: 10 * time.Second})
		time.AfterFunc(time.Second, func() { cluster.bind(&resident{pod: newPod("late")}) })
		d := &drill{notice: time.Hour, policy: Policy{Gentle: true, Only: &Selection{Priority: &from}}}
		plan, outcomes := cluster.drain(t.Context(), d)
		if len(outcomes) != 1 || outcomes[0].Path != Evicted {
			t.Errorf("outcomes are %+v, want that one pod was evicted", outcomes)
		}
		want := []Skip{{PodRef: refOf(newPod("late")), Reason: ReturnedPod}}
		if diff := cmp.Diff(want, plan.Skips); diff != "" {
			t.Errorf("skips (-want +got):\n%s", diff)
		}
	})
}
