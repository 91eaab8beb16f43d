package cluster

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/agent"
)

// What becomes of the sightings where nothing is configured. It is the business of
// package agent, and what this package gives it to go by.
func TestTheAgentMakesOfItWhatIsMeant(t *testing.T) {
	t.Parallel()
	const soon = 3 * time.Second // after noon, when most of it was written
	gently := func(until time.Time) agent.Course {
		return agent.Course{Response: agent.HandOver, From: noon.Add(soon), Until: until}
	}
	cases := map[string]struct {
		steps []func(*corev1.Node)
		want  []agent.Course
	}{
		"Karpenter's taint is followed as long as an advice": {
			[]func(*corev1.Node){byKarpenter}, []agent.Course{gently(noon.Add(soon + time.Hour))},
		},
		"a deletion goes on with what the taint began": {
			[]func(*corev1.Node){byKarpenter, deleted}, []agent.Course{gently(noon.Add(soon + time.Hour))},
		},
		"Karpenter's own end is followed to it": {
			[]func(*corev1.Node){byKarpenter, ends("2026-11-25T12:00:00Z")}, []agent.Course{gently(noon.Add(48 * time.Hour))},
		},
		"Cluster Autoscaler's advice is as old as it says": {
			[]func(*corev1.Node){byAutoscaler}, []agent.Course{gently(noon.Add(time.Hour))},
		},
		"a taint that is taken back ends it": {
			[]func(*corev1.Node){byKarpenter, untainted}, nil,
		},
		"a shutdown is a drain, of a spot notice's length": {
			[]func(*corev1.Node){shuttingDown},
			[]agent.Course{{Response: agent.DrainNow, From: noon.Add(soon), Until: noon.Add(soon + 105*time.Second)}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracker := agent.Tracker{Node: own, BootID: "this-boot"}
			source, now, node := newAPIServer().source(t), noon.Add(soon), calm()
			said := func() []agent.Sighting {
				all := read(node)
				for i := range all {
					all[i].ServerTime = now.Truncate(time.Second)
				}
				return all
			}
			tracker.Observe(source, said(), now)
			ids, open := map[string]bool{}, []agent.Notice(nil)
			for _, step := range c.steps {
				step(node)
				open, _ = tracker.Observe(source, said(), now)
				for _, notice := range open {
					ids[notice.ID] = true
				}
			}
			var got []agent.Course
			for _, notice := range open {
				got = append(got, agent.DefaultRules().Course(notice))
			}
			// Servers' clocks count seconds.
			if diff := cmp.Diff(c.want, got, cmpopts.EquateApproxTime(time.Second)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(ids) != 1 {
				t.Errorf("it was %d notices, want one: %v", len(ids), ids)
			}
		})
	}
}
