package sweep

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/drain"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// patience is what the tests wait for.
const patience = 15 * time.Minute

func node(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name), Annotations: map[string]string{}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

// left is the node "one" with a state whose deadline was so long before noon.
func left(ago time.Duration) *corev1.Node {
	made := node("one")
	made.Annotations[drain.StateAnnotation] = `{"notice": "i-1", "kind": "SpotInterruption", "bootID": "b", "cordoned": true, "deadline": "` +
		noon.Add(-ago).Format(time.RFC3339) + `"}`
	return made
}

// advised is the node "one" on which an advice was to lapse so long before noon.
func advised(ago time.Duration) *corev1.Node {
	return with(left(ago), func(n *corev1.Node) {
		n.Annotations[drain.StateAnnotation] = strings.Replace(n.Annotations[drain.StateAnnotation], `"cordoned": true`, `"advice": "HandOver"`, 1)
	})
}

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID("uid-of-" + name),
			Labels: map[string]string{}, Annotations: map[string]string{},
		},
		Spec:   corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

// handed is a pod of that node that is handed over.
func handed(name, notice string) *corev1.Pod {
	made := pod(name, "one")
	made.Labels[drain.HandedOverKey] = "5d"
	made.Annotations[drain.HandedOverKey] = `{"hash": "5d", "replicaSet": "web-5d", "replicaSetUID": "u", "notice": "` + notice + `"}`
	return made
}

func agent(node string) *corev1.Pod {
	made := pod("agent-of-"+node, node)
	made.Labels = map[string]string{
		"app.kubernetes.io/part-of": "ebbtide", "app.kubernetes.io/component": "agent", "app.kubernetes.io/instance": "tide",
	}
	return made
}

func with[T any](object T, change func(T)) T {
	change(object)
	return object
}

func TestWhatADrainHasLeftIsTakenBack(t *testing.T) {
	t.Parallel()
	nodes := func(all ...*corev1.Node) []*corev1.Node { return all }
	pods := func(all ...*corev1.Pod) []*corev1.Pod { return all }
	for name, c := range map[string]struct {
		nodes  []*corev1.Node
		pods   []*corev1.Pod
		before []*corev1.Pod // what differed, at first sight
		want   bool
	}{
		"of a node whose agent does not come back":      {nodes: nodes(left(time.Hour)), want: true},
		"and not while its deadline is to come":         {nodes: nodes(left(-time.Minute))},
		"and not while it is not long past":             {nodes: nodes(left(patience - time.Second))},
		"of a node on which an advice has lapsed":       {nodes: nodes(advised(time.Hour)), want: true},
		"and not while the advice would be followed":    {nodes: nodes(advised(-time.Minute))},
		"of a node without a deadline":                  {nodes: nodes(with(left(0), func(n *corev1.Node) { n.Annotations[drain.StateAnnotation] = "{}" })), want: true},
		"and not where an agent is":                     {nodes: nodes(left(time.Hour)), pods: pods(agent("one"))},
		"and not where one has been until a moment ago": {nodes: nodes(left(time.Hour)), before: pods(agent("one"))},
		"and not where one of other making is": {
			nodes: nodes(with(left(time.Hour), func(n *corev1.Node) {
				n.Annotations[drain.StateAnnotation] = `{"kind": "SpotInterruption", "agent": "home-made", "deadline": "2026-11-22T11:00:00Z"}`
			})),
			pods: pods(pod("home-made", "one")),
		},
		"of a node beside one that has an agent": {nodes: nodes(left(time.Hour), node("two")), pods: pods(agent("two")), want: true},
		"of a node whose agent is not Ready": {
			nodes: nodes(left(time.Hour)), want: true,
			pods: pods(with(agent("one"), func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse })),
		},
		"of a node whose agent is ending": {
			nodes: nodes(left(time.Hour)), want: true,
			pods: pods(with(agent("one"), func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: noon} })),
		},
		"and not of a machine that is down": {
			nodes: nodes(with(left(time.Hour), func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown })),
		},
		"and not of a node that is being deleted": {
			nodes: nodes(with(left(time.Hour), func(n *corev1.Node) { n.DeletionTimestamp = &metav1.Time{Time: noon} })),
		},
		"and not of a node whose state another version has written": {
			nodes: nodes(with(left(time.Hour), func(n *corev1.Node) { n.Annotations[drain.StateAnnotation] = "2" })),
		},
		"and nothing of a node that carries nothing": {nodes: nodes(node("one")), pods: pods(pod("web", "one"))},

		"of a pod that a rescue has left handed over": {nodes: nodes(node("one")), pods: pods(handed("web", drain.RescueNotice), agent("one")), want: true},
		"and not of one that is being rescued":        {nodes: nodes(node("one")), pods: pods(handed("web", drain.RescueNotice)), before: []*corev1.Pod{}},
		"and not of one beside it": {
			nodes: nodes(node("one")), pods: pods(handed("web", drain.RescueNotice), handed("db", drain.RescueNotice)),
			before: pods(handed("db", drain.RescueNotice)),
		},
		"of a pod that an agent has left handed over": {nodes: nodes(node("one")), pods: pods(handed("web", "i-1")), want: true},
		"and not while the agent is there":            {nodes: nodes(node("one")), pods: pods(handed("web", "i-1"), agent("one"))},
		"and not of a pod whose label is another's": {
			nodes: nodes(node("one")),
			pods:  pods(with(handed("web", "i-1"), func(p *corev1.Pod) { delete(p.Annotations, drain.HandedOverKey) })),
		},
		"of a pod whose node does not exist": {pods: pods(handed("web", "i-1")), before: []*corev1.Pod{}, want: true},
		"and not of one that is ending": {
			pods: pods(with(handed("web", "i-1"), func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: noon} })),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := c.pods
			if c.before != nil {
				before = c.before
			}
			_, memory := Judge(View{c.nodes, before}, patience, noon.Add(-patience), Memory{})
			due, _ := Judge(View{c.nodes, c.pods}, patience, noon, memory)
			var want, got []string
			if c.want {
				want = []string{"one"}
			}
			for _, left := range due {
				got = append(got, left.Name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("due (-want +got):\n%s", diff)
			}
		})
	}
}

// A node that is away for a moment, and one that somebody new looks at, are waited for
// anew.
func TestNobodyIsGivenUpOnBeforeHeWasWaitedFor(t *testing.T) {
	t.Parallel()
	one, down := left(time.Hour), left(time.Hour)
	down.Status.Conditions[0].Status = corev1.ConditionFalse
	steps := []struct {
		at    time.Duration
		node  *corev1.Node
		fresh bool // somebody else looks
		want  int
	}{
		{0, one, true, 0},
		{patience - time.Second, one, false, 0},
		{patience, one, false, 1},
		{patience + time.Second, one, true, 0},
		{2 * patience, one, false, 0},
		{2*patience + time.Second, one, false, 1},
		{2*patience + 2*time.Second, down, false, 0},
		{3 * patience, one, false, 0},
		{4*patience - time.Second, one, false, 0},
		{4 * patience, one, false, 1},
	}
	var memory Memory
	for _, step := range steps {
		if step.fresh {
			memory = Memory{}
		}
		var due []Leftover
		due, memory = Judge(View{Nodes: []*corev1.Node{step.node}}, patience, noon.Add(step.at), memory)
		if len(due) != step.want {
			t.Errorf("at %s %d are due, want %d", step.at, len(due), step.want)
		}
	}
}

func TestNothingIsRememberedOfWhatIsNotThereAnyMore(t *testing.T) {
	t.Parallel()
	view := View{Nodes: []*corev1.Node{left(0)}, Pods: []*corev1.Pod{handed("web", "i-1")}}
	_, memory := Judge(view, patience, noon, Memory{})
	if len(memory.alone) != 1 || len(memory.handed) != 1 {
		t.Fatalf("it remembers %+v, want the node and the pod", memory)
	}
	if _, memory = Judge(View{}, patience, noon, memory); len(memory.alone)+len(memory.handed) > 0 {
		t.Errorf("it remembers %+v", memory)
	}
}
