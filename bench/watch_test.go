package main

import (
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// A notice and an idle while on each cloud, as short as they can be. How fast the agent
// is is not this test's matter; that every figure with a bound is measured, and by the
// agent of that cloud, is.
func TestEachCloudIsMeasured(t *testing.T) {
	t.Parallel()
	for _, c := range clouds {
		t.Run(c.provider, func(t *testing.T) {
			t.Parallel()
			b := newBench(t.Output())
			b.lab, b.dir, b.program = lab.Shared(t), t.TempDir(), agentrun.Binary(t, false)
			b.runs, b.idleFor = 1, time.Second
			if err := b.cordon(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if err := b.idle(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			judged := 0
			for _, bound := range bounds {
				if bound.scenario != "f"+c.suffix && bound.scenario != "g"+c.suffix {
					continue
				}
				judged++
				if _, has := b.results[bound.scenario][ebbtide][bound.figure]; !has {
					t.Errorf("scenario %s has no %s", bound.scenario, bound.figure)
				}
			}
			if judged == 0 {
				t.Error("nothing of this cloud has a bound")
			}
			if took := b.results["f"+c.suffix][ebbtide][figureP50]; took <= 0 {
				t.Errorf("the node was cordoned %v s after its notice", took)
			}
		})
	}
}

func TestRequestsAreOpenFromTheirArrivalToTheirAnswer(t *testing.T) {
	t.Parallel()
	one, other := metadatatest.Request{Path: "/one"}, metadatatest.Request{Path: "/other"}
	for name, c := range map[string]struct {
		happens func(*openRequests)
		want    int
	}{
		"none has come":                    {func(*openRequests) {}, 0},
		"one after the other":              {func(o *openRequests) { o.arrived(one); o.answered(one); o.arrived(one) }, 1},
		"one of each path":                 {func(o *openRequests) { o.arrived(one); o.arrived(other) }, 1},
		"two of a path, of which one ends": {func(o *openRequests) { o.arrived(one); o.arrived(one); o.answered(one) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := openRequests{now: map[string]int{}}
			c.happens(&o)
			if got := o.peak(); got != c.want {
				t.Errorf("at most %d were open, want %d", got, c.want)
			}
		})
	}
}
