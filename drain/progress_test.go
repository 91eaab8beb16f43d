package drain

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// What a cluster in memory cannot show: replies that come before the watch does.
func TestAPodThatIsGoneIsOursWhenAReplyOfOursWasLost(t *testing.T) {
	t.Parallel()
	const own = 30 * time.Second
	eviction, clamped, deletion := sent{grace: own}, sent{grace: 10 * time.Second}, sent{force: true, grace: own}
	type call struct {
		sent  sent
		reply error
	}
	cases := map[string]struct {
		calls []call
		path  Path
		grace int64
	}{
		"it was gone before the first call":                {[]call{{eviction, noPod()}}, AlreadyGone, 0},
		"it was another before the first call":             {[]call{{eviction, otherUID()}}, AlreadyGone, 0},
		"the reply to its eviction was lost":               {[]call{{eviction, errUnavailable}, {eviction, noPod()}}, Evicted, 30},
		"the reply was lost, and a namesake came":          {[]call{{eviction, errUnavailable}, {eviction, otherUID()}}, Evicted, 30},
		"it was evicted, and not deleted by the next call": {[]call{{eviction, errUnavailable}, {deletion, noPod()}}, Evicted, 30},
		"it was evicted with the grace of the first call":  {[]call{{clamped, errUnavailable}, {sent{grace: 9 * time.Second}, noPod()}}, Clamped, 10},
		"the reply to its deletion was lost":               {[]call{{eviction, budgetClosed()}, {deletion, errUnavailable}, {deletion, noPod()}}, Forced, 30},
		"an overloaded server had not looked at it":        {[]call{{eviction, errUnavailable}, {eviction, plainText(429, 1, "")}, {eviction, noPod()}}, Evicted, 30},
		"a budget's refusal says that it was still there":  {[]call{{eviction, errUnavailable}, {eviction, budgetClosed()}, {eviction, noPod()}}, AlreadyGone, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProgress(Move{Action: Evict, GraceSeconds: 30, ForceAt: noon.Add(time.Minute)})
			for _, call := range c.calls {
				if p.phase != waiting {
					t.Fatalf("phase %d before the last call", p.phase)
				}
				p.begin(call.sent)
				p.hear(result{sent: call.sent, err: call.reply}, noon)
			}
			if p.phase != done || p.out.Path != c.path || p.out.GraceGiven != c.grace || p.out.Err != "" {
				t.Errorf("phase %d, outcome %+v; want %q with %d s", p.phase, p.out, c.path, c.grace)
			}
		})
	}
}

func TestADeletionThatIsLostIsKnownByTheWatch(t *testing.T) {
	t.Parallel()
	p := newProgress(Move{Action: Evict, GraceSeconds: 30, ForceAt: noon})
	p.begin(sent{force: true, grace: 20 * time.Second})
	p.hear(result{err: errUnavailable}, noon)
	p.see(Change{Pod: newPod("a", terminating)}, noon.Add(time.Second))
	if p.phase != told || p.out.Path != Forced || p.out.GraceGiven != 20 || !p.out.ToldAt.Equal(noon.Add(time.Second)) {
		t.Errorf("phase %d, outcome %+v; want it forced with 20 s", p.phase, p.out)
	}
}

func TestAReplyAfterThePodsEndChangesNothing(t *testing.T) {
	t.Parallel()
	p := newProgress(Move{Action: Evict, GraceSeconds: 30, ForceAt: noon.Add(time.Minute)})
	p.begin(sent{grace: 30 * time.Second})
	p.see(Change{Pod: newPod("a", phaseOf(corev1.PodSucceeded)), Gone: true}, noon)
	before := p.out
	if verdict := p.hear(result{err: noPod()}, noon.Add(time.Second)); verdict != Gone {
		t.Errorf("the reply is read as %q", verdict)
	}
	if p.out != before || p.phase != done {
		t.Errorf("outcome was %+v and became %+v", before, p.out)
	}
}

func TestADeletionThatIsRefusedForABudgetIsNotAskedInALoop(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]error{"two budgets": twoBudgets(), "an ending namespace": namespaceEnding()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProgress(Move{Action: Evict, GraceSeconds: 30, ForceAt: noon.Add(time.Minute)})
			p.begin(sent{grace: 30 * time.Second})
			p.hear(result{err: reply}, noon)
			if due := p.due(true, true, noon); due.After(noon) || !p.mustForce(noon) {
				t.Errorf("after an eviction: due at %v, forced: %v; want a deletion at once", due, p.mustForce(noon))
			}
			force := sent{force: true, grace: 30 * time.Second}
			p.begin(force)
			p.hear(result{sent: force, err: reply}, noon)
			if due := p.due(true, true, noon); !due.Equal(noon.Add(deniedDelay)) {
				t.Errorf("after a deletion: due at %v, want %v later", due, deniedDelay)
			}
		})
	}
}

func TestAPodThatOthersToldIsKnownAsSuch(t *testing.T) {
	t.Parallel()
	leaving := Change{Pod: newPod("a", terminating)}
	cases := map[string]struct {
		action Action
		live   func(*progress)
		want   bool
	}{
		"when it was on its way out before the plan":  {Await, func(*progress) {}, true},
		"when it goes before it was asked":            {Evict, func(p *progress) { p.see(leaving, noon) }, true},
		"but not when it was asked before":            {Evict, func(p *progress) { p.begin(sent{}); p.see(leaving, noon) }, false},
		"and not when it ends by itself and is there": {Evict, func(p *progress) { p.see(Change{Pod: newPod("a", phaseOf(corev1.PodSucceeded))}, noon) }, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProgress(Move{Action: c.action, GraceSeconds: 30, ForceAt: noon.Add(time.Minute)})
			c.live(p)
			if p.out.ToldByOthers != c.want {
				t.Errorf("told by others: %t, want %t", p.out.ToldByOthers, c.want)
			}
		})
	}
}
