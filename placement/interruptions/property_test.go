package interruptions

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/drain"
)

// Events and looks come by two ways, each in its own order, and nobody knows which is
// the faster.
func TestTheOrderInWhichTheWitnessesAreHeardChangesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // G404: a seed makes it repeatable
		const fleet = 6
		var heard []*eventsv1.Event
		want := map[string]int{}
		ends := make([]int, fleet) // the first look at which a node is gone, after it was seen
		silent := make([]bool, fleet)
		for n := range fleet {
			name := fmt.Sprintf("node-%d", n)
			ends[n], silent[n] = 4+random.IntN(9), random.IntN(3) == 0
			want["Interruption SpotInterruption"]++
			heard = append(heard, ofNode(interruptionNoticed, name, "n"))
			if silent[n] {
				want["Drain Unreported"]++
				continue
			}
			want["Drain Drained"]++
			heard = append(heard, ofNode(nodeDrained, name, "n"))
		}
		m, got := &Memory{}, map[string]int{}
		m.Nodes(noon, nil)
		// Looks are two seconds apart, and the Events come within thirty of them.
		const looks, lastEvent = 60, 14
		for look := range looks {
			at := noon.Add(time.Duration(2*look) * time.Second)
			for len(heard) > 0 && (look == lastEvent || random.IntN(3) == 0) {
				tally(got, m.Event(heard[0]))
				if random.IntN(4) == 0 {
					tally(got, m.Event(heard[0]))
				}
				heard = heard[1:]
			}
			var seen []*corev1.Node
			for n := range fleet {
				if look >= 1+n%3 && look < ends[n] {
					seen = append(seen, node(fmt.Sprintf("node-%d", n), spot("n")))
				}
			}
			random.Shuffle(len(seen), func(i, j int) { seen[i], seen[j] = seen[j], seen[i] })
			tally(got, m.Nodes(at, seen))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("with seed %d (-want +got):\n%s", seed, diff)
		}
	}
}

func tally(counts map[string]int, facts []Fact) {
	for _, fact := range facts {
		counts[string(fact.Subject)+" "+fact.Value] += fact.Count
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := &Memory{}
	m.Nodes(noon, nil)
	event := ofPod("ForcedPastBudget", "p")
	for i := range 3 * rememberedEvents {
		event.UID = types.UID(fmt.Sprint("uid-", i))
		if facts := m.Event(event); len(facts) != 1 {
			t.Fatalf("Event %d counts %q, want it once", i, says(facts))
		}
		if facts := m.Event(event); len(facts) != 0 {
			t.Fatalf("Event %d counts %q when it is seen again", i, says(facts))
		}
	}
	for i := range 2 * rememberedTales {
		m.Event(ofNode(interruptionNoticed, fmt.Sprint("node-", i), "forged"))
	}
	if got := []int{len(m.told), len(m.oldest), len(m.interruptions)}; !slices.Equal(got, []int{rememberedEvents, rememberedEvents, rememberedTales}) {
		t.Errorf("remembers %v Events, their order and interruptions", got)
	}
	// What a node carries is taken in all the same, and nothing is kept for good.
	if got := says(m.Nodes(noon, nodes(node("a", spot("n"))))); !slices.Equal(got, []string{comesUnder}) {
		t.Errorf("a look finds %q", got)
	}
	advice := spot("n")
	advice.Advice = "HandOver"
	m.Nodes(noon, nodes(node("b", advice)))
	for at := time.Duration(0); at <= unmarkedFor+keepFor+time.Hour; at += 10 * time.Minute {
		m.Nodes(noon.Add(at), nil)
	}
	if len(m.interruptions)+len(m.advices) > 0 {
		t.Errorf("remembers %d interruptions and %d advices of nodes that are long gone", len(m.interruptions), len(m.advices))
	}
}

func TestWhatCannotBeReadCountsNothing(t *testing.T) {
	t.Parallel()
	odd := node("a", nil)
	odd.Annotations = map[string]string{drain.StateAnnotation: "{"}
	nameless := ofNode(nodeDrained, "a", "n")
	nameless.Note = "Drained after 3 s"
	play(t, []step{
		{look: nodes(node("a", nil))},
		{look: nodes(odd)},
		{event: nameless},
		{event: ofNode("Unheard", "a", "n")},
		{at: time.Hour, look: nodes()},
		{at: 2 * time.Hour, look: nodes()},
	})
}
