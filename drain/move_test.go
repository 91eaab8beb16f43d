package drain

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// story is what became of one pod, in times since the start; a pod that was
// never told or never went has -1 there.
type story struct {
	path       Path
	told, gone time.Duration
	grace      time.Duration
}

const never = time.Duration(-1)

// stories tells outcomes by the pods' names.
func stories(c *cluster, outcomes []PodOutcome) map[string]story {
	since := func(at time.Time) time.Duration {
		if at.IsZero() {
			return never
		}
		return at.Sub(c.began)
	}
	told := map[string]story{}
	for _, out := range outcomes {
		told[out.Name] = story{
			out.Path, since(out.ToldAt), since(out.GoneAt), time.Duration(out.GraceGiven) * time.Second,
		}
	}
	return told
}

func always(f fault) func(string, int) fault { return func(string, int) fault { return f } }

// evictions meets each of the first evictions with a fault of its own, and no
// later one.
func evictions(faults ...fault) func(string, int) fault {
	return func(verb string, before int) fault {
		if verb == "evict" && before < len(faults) {
			return faults[before]
		}
		return fault{}
	}
}

func closed() *allowance { return &allowance{} }

// Two minutes' notice keeps five seconds: a pod of the default grace of 30 s has
// its latest moment 85 s after the start.
func TestAPodLeavesInTheBestWayThatItsBudgetAllows(t *testing.T) {
	t.Parallel()
	const s, ms = time.Second, time.Millisecond
	refuse := func(err error) func(string, int) fault {
		return func(verb string, _ int) fault {
			if verb == "evict" {
				return fault{err: err}
			}
			return fault{}
		}
	}
	cases := map[string]struct {
		pod   resident
		want  story
		tries int
	}{
		"at once without a budget":                          {resident{ends: 3 * s}, story{Evicted, 0, 3 * s, 30 * s}, 1},
		"killed at the end of its grace":                    {resident{ends: 100 * s}, story{Evicted, 0, 30 * s, 30 * s}, 1},
		"evicted when its budget opens":                     {resident{budget: &allowance{opens: []time.Duration{10 * s}}, ends: s}, story{Evicted, 10 * s, 11 * s, 30 * s}, 11},
		"forced at its latest moment, with all its grace":   {resident{budget: closed(), ends: 100 * s}, story{Forced, 85 * s, 115 * s, 30 * s}, 86},
		"forced where its budget opens too late":            {resident{budget: &allowance{opens: []time.Duration{86 * s}}, ends: s}, story{Forced, 85 * s, 86 * s, 30 * s}, 86},
		"deleted at once behind two budgets":                {resident{fault: refuse(twoBudgets()), ends: s}, story{Forced, 0, s, 30 * s}, 2},
		"deleted at once behind a failed sync":              {resident{fault: refuse(budgetFailedSync()), ends: s}, story{Forced, 0, s, 30 * s}, 2},
		"deleted at once in a namespace that is ending":     {resident{fault: refuse(namespaceEnding()), ends: s}, story{Forced, 0, s, 30 * s}, 2},
		"forced past a policy that denies evictions":        {resident{fault: refuse(deniedByPolicy()), ends: s}, story{Forced, 85 * s, 86 * s, 30 * s}, 44},
		"evicted after a stale budget":                      {resident{fault: evictions(fault{err: budgetStale()}), ends: s}, story{Evicted, 400 * ms, 1400 * ms, 30 * s}, 2},
		"evicted after conflicts over its budget":           {resident{fault: evictions(fault{err: budgetContended()}, fault{err: budgetContended()}), ends: s}, story{Evicted, s, 2 * s, 30 * s}, 3},
		"evicted after a webhook failed":                    {resident{fault: evictions(fault{err: webhookUnreachable()}), ends: s}, story{Evicted, 2 * s, 3 * s, 30 * s}, 2},
		"evicted after its token was read again":            {resident{fault: evictions(fault{err: plainText(401, 0, "Unauthorized")}), ends: s}, story{Evicted, 500 * ms, 1500 * ms, 30 * s}, 2},
		"evicted after the server shed load":                {resident{fault: evictions(fault{err: plainText(429, 2, "")}), ends: s}, story{Evicted, 2 * s, 3 * s, 30 * s}, 2},
		"evicted after no connection":                       {resident{fault: evictions(fault{err: errUnavailable}, fault{err: errUnavailable}), ends: s}, story{Evicted, s, 2 * s, 30 * s}, 3},
		"evicted after a call that hung":                    {resident{fault: evictions(fault{hang: true}), ends: s}, story{Evicted, 5500 * ms, 6500 * ms, 30 * s}, 2},
		"evicted once where the reply was lost":             {resident{fault: evictions(fault{lost: true, err: errUnavailable}), ends: 3 * s}, story{Evicted, 0, 3 * s, 30 * s}, 1},
		"evicted once where the reply hangs":                {resident{fault: evictions(fault{lost: true, hang: true}), ends: 3 * s}, story{Evicted, 0, 3 * s, 30 * s}, 1},
		"clamped where its grace is longer than the notice": {resident{pod: newPod("p", grace(600)), ends: 200 * s}, story{Clamped, 0, 115 * s, 115 * s}, 1},
		"clamped and forced at once behind a budget":        {resident{pod: newPod("p", grace(600)), budget: closed(), ends: 200 * s}, story{Forced, 0, 115 * s, 115 * s}, 2},
		"with a second of its own":                          {resident{pod: newPod("p", grace(0)), ends: 20 * s}, story{Evicted, 0, s, s}, 1},
		"forced earlier where a volume has to come off":     {resident{pod: newPod("p", claim), budget: closed(), ends: 100 * s}, story{Forced, 75 * s, 105 * s, 30 * s}, 76},
		"watched where it is leaving already":               {resident{pod: newPod("p", terminating), ends: 8 * s}, story{AlreadyGone, never, 8 * s, 0}, 0},
		"whatever its budget while it is pending":           {resident{pod: newPod("p", phaseOf(corev1.PodPending)), budget: closed(), ends: s}, story{Evicted, 0, s, 30 * s}, 1},
		"lost where the API server refuses everything":      {resident{fault: always(fault{err: forbiddenByRBAC()})}, story{Lost, never, never, 0}, 60},
		"lost where it has a finalizer of the kubelet":      {resident{pod: newPod("p", terminating, grace(1000)), ends: 1000 * s}, story{Lost, never, never, 0}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cluster := newCluster(t)
				pod := c.pod
				if pod.pod == nil {
					pod.pod = newPod("p")
				}
				cluster.run(&pod)
				_, outcomes := cluster.drain(t.Context(), &drill{notice: 2 * time.Minute, policy: Policy{VolumeDetach: 10 * time.Second}})
				if diff := cmp.Diff(map[string]story{"p": c.want}, stories(cluster, outcomes), cmp.AllowUnexported(story{})); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
				if outcomes[0].Tries != c.tries {
					t.Errorf("asked %d times, want %d", outcomes[0].Tries, c.tries)
				}
				refused := c.want.path == Lost && c.tries > 0
				if (outcomes[0].Err != "") != refused {
					t.Errorf("the last refusal is %q", outcomes[0].Err)
				}
				if marked := c.want.path == Forced || refused; pod.disrupted != marked {
					t.Errorf("carries DisruptionTarget of ours: %v, want %v", pod.disrupted, marked)
				}
			})
		})
	}
}

func TestADrainThatIsCalledOffSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cluster := newCluster(t)
		cluster.run(&resident{pod: newPod("early"), ends: 2 * time.Second})
		cluster.run(&resident{pod: newPod("leaving"), ends: 20 * time.Second})
		cluster.run(&resident{pod: newPod("protected"), budget: closed()})
		cluster.run(&resident{pod: newPod("hanging"), fault: always(fault{hang: true})})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, outcomes := cluster.drain(ctx, &drill{notice: 2 * time.Minute, concurrency: 5})
		const s = time.Second
		want := map[string]story{
			"early":     {Evicted, 0, 2 * s, 30 * s},
			"leaving":   {CalledOff, 0, never, 30 * s},
			"protected": {CalledOff, never, never, 0},
			"hanging":   {CalledOff, never, never, 0},
		}
		if diff := cmp.Diff(want, stories(cluster, outcomes), cmp.AllowUnexported(story{})); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		if took := time.Since(cluster.began); took != 10*s {
			t.Errorf("ended after %v, want the end of its context", took)
		}
	})
}

func TestAPodThatAsksForTheDeadlineIsToldItBeforeItIsEvicted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		asking := &resident{pod: newPod("asking"), ends: time.Second}
		asking.pod.Annotations = map[string]string{DeadlineAnnotation: ""}
		told := ""
		asking.fault = func(string, int) fault {
			told = asking.pod.Annotations[DeadlineAnnotation]
			return fault{}
		}
		c.run(asking)
		c.drain(t.Context(), &drill{notice: 2 * time.Minute})
		if want := c.began.Add(2 * time.Minute).UTC().Format(time.RFC3339); told != want {
			t.Errorf("when it was evicted the pod had been told %q, want %q", told, want)
		}
	})
}

func TestAPodThatWaitsForItsCompletionRunsUntilItsLatestMoment(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		completes time.Duration
		path      Path
	}{
		"it completes by itself":      {completes: 50 * time.Second, path: Finished},
		"it needs more than there is": {completes: time.Hour, path: Evicted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cluster := newCluster(t)
				job := &resident{pod: newPod("job"), ends: time.Second}
				job.pod.Annotations = map[string]string{WaitAnnotation: "true"}
				cluster.run(job)
				timer := time.AfterFunc(c.completes, func() { cluster.finish(job) })
				defer timer.Stop()
				_, outcomes := cluster.drain(t.Context(), &drill{notice: 2 * time.Minute})
				if outcomes[0].Path != c.path {
					t.Errorf("the pod took the path %s, want %s", outcomes[0].Path, c.path)
				}
				// 120 s of notice, 5 s of reserve and 30 s of grace.
				if at := outcomes[0].ToldAt.Sub(cluster.began); c.path == Evicted && at != 85*time.Second {
					t.Errorf("the pod was told to stop after %s, want 85s", at)
				}
			})
		})
	}
}
