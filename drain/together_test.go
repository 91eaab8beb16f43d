package drain

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scene is a drain of several pods under way: what is on the node, and what
// happens meanwhile.
type scene struct {
	drill
	pods []*resident
	// events happen at their moment after the start.
	events map[time.Duration]func(*cluster)
	want   map[string]story
	// ends is when the drain is over; zero does not matter.
	ends time.Duration
}

func (sc scene) play(t *testing.T) (*cluster, Plan, []PodOutcome) {
	t.Helper()
	cluster := newCluster(t)
	for _, pod := range sc.pods {
		cluster.run(pod)
	}
	for at, event := range sc.events {
		time.AfterFunc(at, func() { event(cluster) })
	}
	if sc.notice == 0 {
		sc.notice = 2 * time.Minute
	}
	plan, outcomes := cluster.drain(t.Context(), &sc.drill)
	if diff := cmp.Diff(sc.want, stories(cluster, outcomes), cmp.AllowUnexported(story{})); sc.want != nil && diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if took := time.Since(cluster.began); sc.ends != 0 && took != sc.ends {
		t.Errorf("the drain ended after %v, want %v", took, sc.ends)
	}
	return cluster, plan, outcomes
}

func TestWhatHappensDuringADrain(t *testing.T) {
	t.Parallel()
	const s, ms = time.Second, time.Millisecond
	bind := func(pod *resident) func(*cluster) { return func(c *cluster) { c.bind(pod) } }
	// until meets every call before that moment with err.
	until := func(end time.Duration, err error) func(string, int) fault {
		began := time.Now()
		return func(string, int) fault {
			if time.Since(began) < end {
				return fault{err: err}
			}
			return fault{}
		}
	}
	cases := map[string]func() scene{
		"an empty node is done two seconds after its cordon": func() scene {
			return scene{drill: drill{cordonedAfter: 3 * s}, want: map[string]story{}, ends: 5 * s}
		},
		"an empty node that was never cordoned is watched to the end": func() scene {
			return scene{drill: drill{cordonedAfter: -1}, want: map[string]story{}, ends: 118750 * ms}
		},
		"a pod that never goes is given up within the reserve": func() scene {
			return scene{
				pods: []*resident{{pod: newPod("a"), fault: always(fault{hang: true})}},
				want: map[string]story{"a": {Lost, never, never, 0}}, ends: 118750 * ms,
			}
		},
		"a pod that is bound late joins": func() scene {
			return scene{
				pods:   []*resident{{pod: newPod("a"), ends: 20 * s}},
				events: map[time.Duration]func(*cluster){3 * s: bind(&resident{pod: newPod("late"), ends: s})},
				want:   map[string]story{"a": {Evicted, 0, 20 * s, 30 * s}, "late": {Evicted, 3 * s, 4 * s, 30 * s}},
				ends:   20 * s,
			}
		},
		"a pod that tolerates the taint goes once, comes back until its moment, and is left then": func() scene {
			return scene{
				pods: []*resident{{pod: newPod("first", toleratesAll), ends: s}},
				events: map[time.Duration]func(*cluster){
					1500 * ms: bind(&resident{pod: newPod("second", toleratesAll), ends: 10 * s}),
					86 * s:    bind(&resident{pod: newPod("third", toleratesAll), ends: s}),
				},
				want: map[string]story{"first": {Evicted, 0, s, 30 * s}, "second": {Evicted, 85 * s, 95 * s, 30 * s}},
				ends: 95 * s,
			}
		},
		"system pods wait for the others, and daemons for them": func() scene {
			return scene{
				drill: drill{policy: Policy{DaemonSets: true}, concurrency: 9},
				pods: []*resident{
					{pod: newPod("dns", withPriority(systemPriority)), ends: 5 * s},
					{pod: newPod("web"), ends: 10 * s},
					{pod: newPod("db", statefulSet), ends: 20 * s},
					{pod: newPod("daemon", daemonSet), ends: s},
				},
				want: map[string]story{
					"web": {Evicted, 0, 10 * s, 30 * s}, "db": {Evicted, 0, 20 * s, 30 * s},
					"dns": {Evicted, 20 * s, 25 * s, 30 * s}, "daemon": {Evicted, 25 * s, 26 * s, 30 * s},
				},
			}
		},
		"system pods wait no longer than ten seconds before their moment": func() scene {
			return scene{
				drill: drill{policy: Policy{DaemonSets: true}, concurrency: 9},
				pods: []*resident{
					{pod: newPod("dns", withPriority(systemPriority)), ends: 50 * s},
					{pod: newPod("web"), budget: closed(), ends: 20 * s},
					{pod: newPod("daemon", daemonSet, grace(10)), ends: s},
				},
				want: map[string]story{
					"web": {Forced, 85 * s, 105 * s, 30 * s}, "dns": {Evicted, 75 * s, 105 * s, 30 * s},
					"daemon": {Evicted, 95 * s, 96 * s, 10 * s},
				},
			}
		},
		"a deadline that comes nearer brings the latest moment with it": func() scene {
			return tightened(10*s, 70*s, &resident{pod: newPod("a"), budget: closed(), ends: 100 * s}, story{Forced, 35 * s, 65 * s, 30 * s})
		},
		"a deadline that comes nearer than the pod's grace clamps it at once": func() scene {
			// Between two tries: at the moment of one, either may come first.
			return tightened(9500*ms, 35*s, &resident{pod: newPod("a"), budget: closed(), ends: 100 * s}, story{Forced, 9500 * ms, 32500 * ms, 23 * s})
		},
		"a deadline that comes nearer ends a wait": func() scene {
			return tightened(s, 35*s, &resident{pod: newPod("a"), fault: evictions(fault{err: plainText(429, 9, "")}), ends: s}, story{Forced, 2 * s, 3 * s, 30 * s})
		},
		"a deadline that comes nearer cuts a hanging eviction": func() scene {
			return tightened(s, 35*s, &resident{pod: newPod("a"), fault: evictions(fault{hang: true}), ends: s}, story{Forced, 2 * s, 3 * s, 30 * s})
		},
		"a deadline that moves away changes nothing": func() scene {
			return tightened(s, time.Hour, &resident{pod: newPod("a"), budget: closed(), ends: s}, story{Forced, 85 * s, 86 * s, 30 * s})
		},
		"a deadline that came nearer before the moves began counts": func() scene {
			countdown := NewCountdown(NewBudget(time.Now().Add(120*s), time.Now()))
			countdown.Tighten(time.Now().Add(60*s), time.Now())
			return scene{
				drill: drill{countdown: countdown}, pods: []*resident{{pod: newPod("a"), budget: closed(), ends: s}},
				want: map[string]story{"a": {Forced, 25 * s, 26 * s, 30 * s}},
			}
		},
		"a pod that ends by itself is finished": func() scene {
			job := &resident{pod: newPod("job"), budget: closed()}
			return scene{
				pods:   []*resident{job},
				events: map[time.Duration]func(*cluster){4500 * ms: func(c *cluster) { c.finish(job) }},
				want:   map[string]story{"job": {Finished, never, 4500 * ms, 0}}, ends: 4500 * ms,
			}
		},
		"a pod that others remove is gone already": func() scene {
			pod := &resident{pod: newPod("a"), budget: closed()}
			return scene{
				pods:   []*resident{pod},
				events: map[time.Duration]func(*cluster){4500 * ms: func(c *cluster) { c.end(pod) }},
				want:   map[string]story{"a": {AlreadyGone, never, 4500 * ms, 0}}, ends: 4500 * ms,
			}
		},
		"an API server that is away for fifteen seconds": func() scene {
			return scene{
				drill: drill{concurrency: 3},
				pods:  crowd(9, func(r *resident) { r.fault, r.ends = until(15*s, errUnavailable), s }),
				want:  crowdStory(9, story{Evicted, 15 * s, 16 * s, 30 * s}),
			}
		},
		"an API server that sheds load for twenty seconds": func() scene {
			return scene{
				drill: drill{concurrency: 3},
				pods:  crowd(9, func(r *resident) { r.fault, r.ends = until(20*s, plainText(429, 5, "")), s }),
				want:  crowdStory(9, story{Evicted, 20 * s, 21 * s, 30 * s}),
			}
		},
		"a token that is refused for ten seconds": func() scene {
			return scene{
				drill: drill{concurrency: 3},
				pods:  crowd(9, func(r *resident) { r.fault, r.ends = until(10*s, plainText(401, 0, "")), s }),
				want:  crowdStory(9, story{Evicted, 10 * s, 11 * s, 30 * s}),
			}
		},
	}
	for name, build := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { build().play(t) })
		})
	}
}

// tightened is a drain of one pod whose deadline becomes deadline at that moment.
func tightened(at, deadline time.Duration, pod *resident, want story) scene {
	began := time.Now()
	countdown := NewCountdown(NewBudget(began.Add(2*time.Minute), began))
	return scene{
		drill: drill{countdown: countdown},
		pods:  []*resident{pod},
		events: map[time.Duration]func(*cluster){
			at: func(*cluster) { countdown.Tighten(began.Add(deadline), time.Now()) },
		},
		want: map[string]story{"a": want},
	}
}

func crowd(n int, with func(*resident)) []*resident {
	pods := make([]*resident, 0, n)
	for i := range n {
		r := &resident{pod: newPod(fmt.Sprintf("p%02d", i))}
		with(r)
		pods = append(pods, r)
	}
	return pods
}

func crowdStory(n int, of story) map[string]story {
	want := map[string]story{}
	for i := range n {
		want[fmt.Sprintf("p%02d", i)] = of
	}
	return want
}

func TestPodsAreToldInThePlansOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sc := scene{pods: []*resident{
			{pod: newPod("dns", withPriority(systemPriority))},
			{pod: newPod("short", grace(5))},
			{pod: newPod("long", grace(50))},
			{pod: newPod("important", withPriority(5))},
			{pod: newPod("db", statefulSet)},
			{pod: newPod("disk", claim, grace(60))},
		}}
		cluster, _, _ := sc.play(t)
		if diff := cmp.Diff([]string{"disk", "db", "important", "long", "short", "dns"}, cluster.order); diff != "" {
			t.Errorf("told in order (-want +got):\n%s", diff)
		}
	})
}

func TestCallsAreLimitedAndLatestMomentsAreKeptAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hanging := func(r *resident) {
			r.fault = func(verb string, _ int) fault { return fault{hang: verb == "evict"} }
			r.ends = time.Second
		}
		sc := scene{drill: drill{concurrency: 4}, pods: crowd(40, hanging)}
		// Its latest moment is 17 s after the start, among evictions that hang for
		// five seconds each.
		protected := &resident{pod: newPod("protected", grace(98)), budget: closed(), ends: time.Hour}
		sc.pods = append(sc.pods, protected)
		cluster, _, outcomes := sc.play(t)
		if got := protected.told.Sub(cluster.began); got != 17*time.Second || protected.grace != 98*time.Second {
			t.Errorf("forced after %v with %v, want 17s with all of its 98s", got, protected.grace)
		}
		if cluster.busiest < 5 || cluster.busiest > 8 {
			t.Errorf("%d calls at a time, want more than 4 only for latest moments, and never more than 8", cluster.busiest)
		}
		for _, out := range outcomes {
			if out.Path != Forced {
				t.Errorf("pod %q is %q, want it forced in time: %+v", out.Name, out.Path, out)
			}
		}
	})
}

func TestCallsBeforeAnyLatestMomentAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sc := scene{
			drill: drill{concurrency: 4},
			pods:  crowd(12, func(r *resident) { r.fault, r.ends = evictions(fault{hang: true}), time.Second }),
		}
		cluster, _, _ := sc.play(t)
		if cluster.busiest != 4 {
			t.Errorf("%d calls at a time, want 4", cluster.busiest)
		}
	})
}

func TestCallsAtLatestMomentsAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sc := scene{
			drill: drill{concurrency: 4},
			pods:  crowd(40, func(r *resident) { r.fault = always(fault{hang: true}) }),
			want:  crowdStory(40, story{Lost, never, never, 0}),
		}
		cluster, _, _ := sc.play(t)
		if cluster.busiest != 8 {
			t.Errorf("%d calls at a time, want 8", cluster.busiest)
		}
	})
}

func TestANamesakeIsNeverTouched(t *testing.T) {
	t.Parallel()
	for _, seen := range []bool{true, false} {
		t.Run(fmt.Sprintf("the watch has shown it: %v", seen), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pod := &resident{pod: newPod("a"), budget: closed()}
				namesake := &resident{pod: newPod("a", uid("uid-other"))}
				sc := scene{
					pods: []*resident{pod},
					events: map[time.Duration]func(*cluster){1500 * time.Millisecond: func(c *cluster) {
						if seen {
							c.end(pod)
						}
						c.run(namesake)
					}},
				}
				_, _, outcomes := sc.play(t)
				if !namesake.told.IsZero() || namesake.disrupted {
					t.Errorf("the namesake was told %q", namesake.verb)
				}
				if out := outcomes[0]; out.Path != AlreadyGone || out.GoneAt.IsZero() {
					t.Errorf("the pod is %+v, want it gone already", out)
				}
			})
		})
	}
}

func TestAPlanHoldsEveryPodThatWasSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		daemon := &resident{pod: newPod("daemon", daemonSet)}
		sc := scene{
			pods: []*resident{{pod: newPod("a"), ends: 10 * time.Second}, {pod: newPod("static", mirror)}},
			events: map[time.Duration]func(*cluster){
				time.Second:     func(c *cluster) { c.bind(daemon) },
				2 * time.Second: func(c *cluster) { c.bind(&resident{pod: newPod("late"), ends: time.Second}) },
				3 * time.Second: func(c *cluster) { c.finish(daemon) },
			},
		}
		_, plan, outcomes := sc.play(t)
		skips := []Skip{
			{PodRef{"default", "static", "uid-static"}, MirrorPod},
			{PodRef{"default", "daemon", "uid-daemon"}, DaemonSetPod},
		}
		if diff := cmp.Diff(skips, plan.Skips); diff != "" {
			t.Errorf("skips (-want +got):\n%s", diff)
		}
		var moves, ended []PodRef
		for _, move := range plan.Moves {
			moves = append(moves, move.PodRef)
		}
		for _, out := range outcomes {
			ended = append(ended, out.PodRef)
		}
		if diff := cmp.Diff(moves, ended); diff != "" {
			t.Errorf("moves and outcomes (-moves +outcomes):\n%s", diff)
		}
		if len(moves) != 2 {
			t.Errorf("moved %v, want a and late", moves)
		}
	})
}

func TestAnObserverHearsOfEachPodWhenItIsToldAndWhenItHasGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cluster := newCluster(t)
		cluster.run(&resident{pod: newPod("a"), ends: time.Second})
		cluster.run(&resident{pod: newPod("b", terminating), ends: 2 * time.Second})
		cluster.run(&resident{pod: newPod("c"), fault: always(fault{hang: true})})
		d := &drill{notice: time.Minute, concurrency: 3}
		cluster.drain(t.Context(), d)
		var heard []string
		for _, pod := range d.observed {
			heard = append(heard, fmt.Sprintf("%s %s gone=%v", pod.Name, pod.Path, !pod.GoneAt.IsZero()))
		}
		want := []string{"a Evicted gone=false", "a Evicted gone=true", "b AlreadyGone gone=true", "c Lost gone=false"}
		if diff := cmp.Diff(want, heard); diff != "" {
			t.Errorf("heard (-want +got):\n%s", diff)
		}
	})
}
