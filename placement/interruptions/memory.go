package interruptions

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/drain"
)

const (
	// rememberedEvents bounds of how many Events it is known what they have counted
	// for: those of a storm that takes two hundred nodes with forty pods each.
	rememberedEvents = 8192
	// rememberedTales bounds how many interruptions are kept of which only Events tell:
	// who may write Events must not fill the memory. What nodes carry needs no bound.
	rememberedTales = 1024
)

// Memory is what one leader knows of interruptions. It takes the time as an argument,
// asks nobody, and is not safe for concurrent use. The zero value knows nothing.
type Memory struct {
	// looked is true after the first look at the nodes.
	looked        bool
	interruptions map[identity]*interruption
	// advices are those that nodes carry, and since when a node has not carried one that
	// it did; zero while it does.
	advices map[identity]time.Time
	// told is what each Event has counted for, and oldest the order in which they came,
	// a ring once it is full.
	told   map[types.UID]int32
	oldest []types.UID
	next   int
}

// identity tells an interruption from every other. A notice may be of several nodes.
type identity struct{ node, notice string }

func (id identity) fact(subject Subject, value string) Fact {
	return Fact{Subject: subject, Value: value, Count: 1, Node: id.node, Notice: id.notice}
}

// Nodes takes in how all nodes are now, and returns what is certain by that. What they
// carry at the first look is not counted as interruptions: it was there before.
func (m *Memory) Nodes(now time.Time, nodes []*corev1.Node) []Fact {
	carried := make(map[string]*drain.State, len(nodes))
	var facts []Fact
	advised := map[identity]string{}
	for _, node := range nodes {
		state := realState(node)
		if state != nil && state.Advice != "" {
			advised[identity{node.Name, state.Notice}] = kindOf(state)
			state = nil
		}
		carried[node.Name] = state
		if state != nil {
			facts = append(facts, m.carried(now, identity{node.Name, state.Notice}, state)...)
		}
	}
	facts = append(facts, m.advise(now, advised)...)
	m.looked = true
	for _, id := range sorted(m.interruptions) {
		at, there := carried[id.node]
		found, forget := m.interruptions[id].settle(now, id, sight{there, at})
		facts = append(facts, found...)
		if forget {
			delete(m.interruptions, id)
		}
	}
	return facts
}

// advise takes in which advices nodes carry now, by their kinds. Like an interruption it
// counts when it is first seen, but for the first look, and is kept in mind for a while
// after. Of what comes of it nobody has to be told: no pod is lost to one.
func (m *Memory) advise(now time.Time, carried map[identity]string) []Fact {
	var facts []Fact
	for id, missed := range m.advices {
		switch {
		case carried[id] != "":
		case missed.IsZero():
			m.advices[id] = now
		case now.Sub(missed) >= keepFor:
			delete(m.advices, id)
		}
	}
	for _, id := range sorted(carried) {
		if _, known := m.advices[id]; !known && m.looked {
			facts = append(facts, id.fact(Advice, carried[id]))
		}
		if m.advices == nil {
			m.advices = make(map[identity]time.Time)
		}
		m.advices[id] = time.Time{}
	}
	return facts
}

// realState is the interruption or advice that node carries; nil for none, for a drill and for
// what cannot be read, which is another version's. A node that is put back is under none,
// and an agent that has only pods to tidy writes down no notice at all, so that a drill
// whose cordon was refused would pass for an interruption.
func realState(node *corev1.Node) *drain.State {
	state, err := drain.ReadState(node)
	if err != nil || state == nil || state.PutBack || state.Kind == drill {
		return nil
	}
	return state
}

// carried takes note of what a node carries. At the first look that is no news, and
// what should have ended by then was for another leader to count.
func (m *Memory) carried(now time.Time, id identity, state *drain.State) []Fact {
	i := m.know(id)
	i.see(state)
	known := i.counted
	i.counted = true
	switch {
	case !m.looked:
		i.ended = i.late(now)
		return nil
	case known:
		return nil
	}
	return []Fact{id.fact(Interruption, kindOf(state))}
}

func kindOf(state *drain.State) string {
	if slices.Contains(kinds, state.Kind) {
		return state.Kind
	}
	return Unknown
}

// Unsettled lists the nodes that carry an interruption of which it is not known whether
// its drain is over, sorted. After the first look their Events have to be passed to
// [Memory.Recall].
func (m *Memory) Unsettled() []string {
	var names []string
	for id, i := range m.interruptions {
		if i.marked && !i.ended {
			names = append(names, id.node)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Recall takes in an Event from before the term: how a drain ended is known then, and
// counts no more.
func (m *Memory) Recall(event *eventsv1.Event) {
	if id, about := nodeOf(event); about && drainOutcomes[event.Reason] != "" {
		if i, known := m.interruptions[id]; known {
			i.ended = true
		}
	}
}

// Event takes in an Event that was written or changed, and returns what is certain by
// it. The same one may come again.
func (m *Memory) Event(event *eventsv1.Event) []Fact {
	if event.ReportingController != reporter {
		return nil
	}
	if fact, about := podFacts[event.Reason]; about && event.Regarding.Kind == "Pod" {
		fact.Node, fact.Count = event.ReportingInstance, m.occurrences(event)
		if fact.Count == 0 {
			return nil
		}
		return []Fact{fact}
	}
	id, about := nodeOf(event)
	if !about {
		return nil
	}
	outcome := drainOutcomes[event.Reason]
	if outcome == "" && event.Reason != interruptionNoticed {
		return nil // a drill's, or one of a later version
	}
	if _, known := m.interruptions[id]; !known && m.tales() >= rememberedTales {
		return nil
	}
	i := m.know(id)
	if outcome == "" {
		i.noticed = true
		return nil // of which kind it is the node says
	}
	if i.ended {
		return nil
	}
	i.ended = true
	return []Fact{id.fact(Drain, outcome)}
}

// nodeOf says of which interruption an Event about a node tells. The note of each of
// the agent's Events ends with the notice's id, by which people find the drain in logs.
func nodeOf(event *eventsv1.Event) (identity, bool) {
	const before, after = "(notice ", ")"
	start := strings.LastIndex(event.Note, before)
	if event.ReportingController != reporter || event.Regarding.Kind != "Node" || start < 0 || !strings.HasSuffix(event.Note, after) {
		return identity{}, false
	}
	return identity{event.Regarding.Name, strings.TrimSuffix(event.Note[start+len(before):], after)}, true
}

// occurrences returns how often what event tells has happened since it was last heard.
// Of one that was written before the term nobody knows how often it had; what has
// changed it is one more.
func (m *Memory) occurrences(event *eventsv1.Event) int {
	count := max(1, event.DeprecatedCount)
	if event.Series != nil {
		count = max(count, event.Series.Count)
	}
	before, known := m.told[event.UID]
	if !known {
		m.remember(event.UID)
		before = count - 1
	}
	m.told[event.UID] = max(before, count)
	return max(0, int(count)-int(before))
}

// remember makes room for one more Event, by forgetting the oldest.
func (m *Memory) remember(uid types.UID) {
	if m.told == nil {
		m.told = make(map[types.UID]int32)
	}
	if len(m.oldest) < rememberedEvents {
		m.oldest = append(m.oldest, uid)
		return
	}
	delete(m.told, m.oldest[m.next])
	m.oldest[m.next] = uid
	m.next = (m.next + 1) % rememberedEvents
}

func (m *Memory) know(id identity) *interruption {
	i, known := m.interruptions[id]
	if !known {
		if m.interruptions == nil {
			m.interruptions = make(map[identity]*interruption)
		}
		i = &interruption{}
		m.interruptions[id] = i
	}
	return i
}

// tales is how many interruptions no node was seen to carry.
func (m *Memory) tales() int {
	count := 0
	for _, i := range m.interruptions {
		if !i.marked {
			count++
		}
	}
	return count
}

// sorted are the identities of all, in an order of their own, so that the same looks come
// to the same facts.
func sorted[V any](all map[identity]V) []identity {
	return slices.SortedFunc(maps.Keys(all), func(a, b identity) int {
		return cmp.Or(strings.Compare(a.node, b.node), strings.Compare(a.notice, b.notice))
	})
}
