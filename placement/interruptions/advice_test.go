package interruptions

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestAnAdviceCountsAsWhatItIs(t *testing.T) {
	t.Parallel()
	const s, advised = time.Second, "1 Advice RebalanceAdvice of a"
	clean := nodes(node("a", nil))
	under := func(notice string) []*corev1.Node {
		state := otherKind(due(spot(notice), time.Hour), "RebalanceAdvice")
		state.Advice = "HandOver"
		return nodes(node("a", state))
	}
	cases := map[string][]step{
		"one that lapses": {
			{look: clean},
			{at: 1 * s, look: under("r"), want: []string{advised}},
			{event: ofNode("AdviceNoticed", "a", "r")},
			{event: ofPod("HandedOverOnAdvice", "p"), want: []string{"1 AdvicePod HandedOver of a"}},
			{event: ofPod("EvictedOnAdvice", "q"), want: []string{"1 AdvicePod Evicted of a"}},
			{event: ofPod("EvictedOnAdvice", "q")},
			{event: ofNode("AdviceIncomplete", "a", "r")},
			{at: 3600 * s, look: under("r")},
			{at: 3602 * s, look: clean},
			{at: 9000 * s, look: clean},
		},
		"one that was there before the term": {
			{look: under("r")},
			{at: 2 * s, look: under("r")},
			{at: 4 * s, look: clean},
		},
		"one that is missing from some looks": {
			{look: clean},
			{at: 1 * s, look: under("r"), want: []string{advised}},
			{at: 3 * s, look: nodes()},
			{at: 600 * s, look: nodes()},
			{at: 602 * s, look: under("r")},
		},
		"one that comes again after a while": {
			{look: clean},
			{at: 1 * s, look: under("r"), want: []string{advised}},
			{at: 3 * s, look: clean},
			{at: 903 * s, look: clean},
			{at: 905 * s, look: under("r"), want: []string{advised}},
		},
		"one that a real notice takes over": {
			{look: clean},
			{at: 1 * s, look: under("r"), want: []string{advised}},
			{at: 9 * s, look: nodes(node("a", spot("n"))), want: []string{comesUnder}},
			{event: ofNode(nodeDrained, "a", "n"), want: []string{isDrained}},
			{at: 200 * s, look: nodes()},
		},
		"one whose own notice is drained for in the end": {
			{look: clean},
			{at: 1 * s, look: under("n"), want: []string{advised}},
			{at: 9 * s, look: nodes(node("a", spot("n"))), want: []string{comesUnder}},
			{at: 100 * s, look: nodes()},
			{at: 130 * s, look: nodes(), want: []string{isUntold}},
		},
		"one on a node that goes without a word": {
			{look: clean},
			{at: 1 * s, look: under("r"), want: []string{advised}},
			{at: 100 * s, look: nodes()},
			{at: 200 * s, look: nodes()},
		},
		"one that follows a drain of another boot": {
			{look: clean},
			{at: 1 * s, look: nodes(node("a", spot("n"))), want: []string{comesUnder}},
			{at: 60 * s, look: under("r"), want: []string{advised}},
			{at: 90 * s, look: under("r"), want: []string{isUntold}},
			{at: 92 * s, look: under("r")},
		},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, steps)
		})
	}
}
