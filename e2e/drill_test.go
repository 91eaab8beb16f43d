package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/drill"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// drillable starts an agent that takes orders for drills, and waits until it would act
// on a notice.
func (s *scene) drillable() (a *agentrun.Agent, socket string) {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "drill") // a test's own folder has too long a name for a socket
	s.must(err)
	s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "drill.sock")
	a = agentrun.New(s.t, agentrun.Options{
		Binary: agentrun.Binary(s.t, agentrun.Race), Node: s.doomed.Name(), Kubeconfig: s.kubeconfig,
		Endpoint: s.imds.URL(), Dir: s.t.TempDir(), Config: map[string]any{"drill": map[string]any{"socket": socket}},
	})
	s.must(a.Ready(s.within(30 * time.Second)))
	return a, socket
}

// order runs "ebbtide-agent drill" with args.
func (s *scene) order(socket string, args ...string) *agentrun.Client {
	s.t.Helper()
	client, err := agentrun.Drill(s.within(90*time.Second), agentrun.Binary(s.t, agentrun.Race), socket, args...)
	s.must(err)
	return client
}

// answer waits for what became of an order.
func (s *scene) answer(client *agentrun.Client) agentrun.Checked {
	s.t.Helper()
	answer, err := client.Wait()
	s.must(err)
	return answer
}

// result reads what a client with -o json has printed.
func (s *scene) result(answer agentrun.Checked) drill.Result {
	s.t.Helper()
	var result drill.Result
	if err := json.Unmarshal([]byte(answer.Stdout), &result); err != nil {
		s.t.Fatalf("the client printed %q and %q: %v", answer.Stdout, answer.Stderr, err)
	}
	return result
}

// looks are what a drill changes on a node and has to put back.
type looks struct {
	Unschedulable       bool
	Taints              []corev1.Taint
	Labels, Annotations map[string]string
}

func (s *scene) looks() looks {
	s.t.Helper()
	node := s.node()
	return looks{node.Spec.Unschedulable, node.Spec.Taints, node.Labels, node.Annotations}
}

// isBack fails the test unless the doomed node looks as it did before.
func (s *scene) isBack(before looks) {
	s.t.Helper()
	if diff := cmp.Diff(before, s.looks()); diff != "" {
		s.t.Errorf("the node after the drill (-before +after):\n%s", diff)
	}
}

// single is a pod whose budget never opens and that is not handed over.
func (s *scene) single() string {
	return pods{name: "single", replicas: 1, asks: stays + ", " + drain.DeadlineAnnotation + `: ""`}.manifest(s) + "\n---\n" + budget("single", "single", "minAvailable", "1")
}

func TestADrillMovesThirtyPodsButTheOneItMayNotAndPutsTheNodeBack(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(30, pods{name: "web", replicas: 28}.manifest(s), s.single(),
		pods{name: "handed", replicas: 1}.manifest(s), budget("handed", "handed", "minAvailable", "1"))
	a, socket := s.drillable()
	info, err := os.Lstat(socket)
	s.must(err)
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket has mode %s, want 0600", info.Mode())
	}
	before := s.looks()
	c := s.order(socket, "--notice", "25s", "-o", "json")
	node, err := s.cordonedFor(agent.Drill)
	s.must(err)
	if !hasTaint(node, drain.TaintKey) {
		t.Error("the node has no taint in the drill")
	}
	answer := s.answer(c)
	result := s.result(answer)

	if answer.ExitCode != 3 || result.Outcome != drill.LeftPods || !result.PutBack {
		t.Errorf("exit %d, %s, put back: %v; want 3, %s and put back; %s", answer.ExitCode, result.Outcome, result.PutBack, drill.LeftPods, answer.Stderr)
	}
	if got := outcome(t, *result.Report, "single"); got.Path != drain.Spared || got.Err == "" {
		t.Errorf("the pod behind a closed budget became %+v, want it spared, with the refusal", got)
	}
	if got := outcome(t, *result.Report, "handed"); got.Path != drain.HandedOver {
		t.Errorf("the pod that may be replaced first became %+v", got)
	}
	if n := result.Report.Count(drain.Evicted); n != 28 {
		t.Errorf("%d pods were evicted, want 28: %+v", n, result.Report.Pods)
	}
	if told := s.life("single").ToldAt; !told.IsZero() {
		t.Error("the pod behind a closed budget was told to stop")
	}
	s.isBack(before)
	s.toldOnce()
	all, err := s.lab.Client().CoreV1().Pods(s.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=single"})
	s.must(err)
	if told, there := all.Items[0].Annotations[drain.DeadlineAnnotation]; !there || told != "" {
		t.Errorf("the pod that stays is still told that the machine ends: %q, %v", told, there)
	}
	metrics, err := a.Metrics(t.Context())
	s.must(err)
	for series, want := range map[string]float64{
		`ebbtide_drills_total{outcome="Incomplete"}`: 1, `ebbtide_drill_pods_total{path="Evicted"}`: 28,
		`ebbtide_drains_total{outcome="Incomplete"}`: 0, `ebbtide_pods_total{path="Evicted"}`: 0, `ebbtide_node_interrupted`: 0,
	} {
		if got, there := metrics[series]; !there || got != want {
			t.Errorf("%s is %v, there: %v; want %v", series, got, there, want)
		}
	}
}

// cordonedFor waits until the node carries the state of an interruption of kind.
func (s *scene) cordonedFor(kind agent.Kind) (*corev1.Node, error) {
	s.t.Helper()
	var found *corev1.Node
	err := s.lab.WaitNode(s.within(30*time.Second), s.doomed.Name(), func(node *corev1.Node) bool {
		state, err := drain.ReadState(node)
		found = node
		return err == nil && state != nil && state.Kind == string(kind) && node.Spec.Unschedulable
	})
	return found, err
}

func TestADrillWithForceDeletesWhatABudgetHoldsBack(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, s.single())
	_, socket := s.drillable()
	before := s.looks()
	c := s.order(socket, "--notice", "15s", "--force", "-o", "json")
	answer := s.answer(c)
	result := s.result(answer)
	if answer.ExitCode != 0 || result.Outcome != drill.Completed {
		t.Fatalf("exit %d, %+v; %s", answer.ExitCode, result, answer.Stderr)
	}
	if got := outcome(t, *result.Report, "single"); got.Path != drain.Forced {
		t.Errorf("the pod behind a closed budget became %+v, want %s", got, drain.Forced)
	}
	s.isBack(before)
	s.noneLost()
}

func TestADryRunOfADrillPrintsThePlanAndTouchesNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(2, pods{name: "web", replicas: 1}.manifest(s), s.single())
	_, socket := s.drillable()
	before := s.looks()
	answer := s.answer(s.order(socket, "--dry-run"))
	if answer.ExitCode != 0 || strings.Count(answer.Stdout, "  Evict  ") != 2 {
		t.Errorf("exit %d, want 0 and a plan with both pods:\n%s%s", answer.ExitCode, answer.Stdout, answer.Stderr)
	}
	s.isBack(before)
	for _, r := range s.requests() {
		writes := r.Verb == "patch" || r.Verb == "delete" || r.Verb == "create" && (r.Resource == "pods" || r.Resource == "events")
		if writes && !r.DryRun {
			t.Errorf("a request was no rehearsal: %+v", r)
		}
	}
}

func TestARealNoticeInTheMiddleOfADrillGovernsFromThenOn(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(2, pods{name: "web", replicas: 1}.manifest(s), s.single())
	a, socket := s.drillable()
	c := s.order(socket, "--notice", "20s", "-o", "json")
	_, err := s.cordonedFor(agent.Drill)
	s.must(err)
	s.interrupt(32 * time.Second)
	node, err := s.cordonedFor(agent.SpotInterruption)
	s.must(err)
	if state, err := drain.ReadState(node); err != nil || !state.Cordoned {
		t.Errorf("the node carries %+v, %v; want it to say that the cordon is ours", state, err)
	}
	answer := s.answer(c)
	if result := s.result(answer); answer.ExitCode != 1 || result.TakenOver == nil || result.PutBack {
		t.Errorf("exit %d, %+v; want 1 and that a real notice took over", answer.ExitCode, result)
	}
	report := s.report(a, 40*time.Second)
	if !report.Complete() || outcome(t, report, "single").Path != drain.Forced {
		t.Errorf("the real drain ended with %+v", report.Pods)
	}
	if told := s.life("single").ToldAt.Sub(s.noticed); told < 20*time.Second {
		t.Errorf("the pod behind a closed budget was told to stop after %s, want 24s: its own latest moment", told)
	}
	if node := s.node(); !node.Spec.Unschedulable || !cordoned(node) {
		t.Errorf("the drill put the node back under a real notice: %+v", node.Spec)
	}
	s.noneLost()
	s.toldOnce()
}

func TestADrillGoesOnWithoutItsClientAndTheNextOneSeesAllOfIt(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(2, pods{name: "web", replicas: 1}.manifest(s), s.single())
	a, socket := s.drillable()
	before := s.looks()
	first := s.order(socket, "--notice", "20s")
	_, err := s.cordonedFor(agent.Drill)
	s.must(err)
	s.must(first.Kill())
	s.answer(first)

	second := s.answer(s.order(socket, "--notice", "5m", "--force"))
	if second.ExitCode != 3 || !strings.Contains(second.Stderr, "under way already") {
		t.Errorf("the second client: exit %d, %q; want 3 and that no other drill was begun", second.ExitCode, second.Stderr)
	}
	for _, line := range []string{"planned: 2 pods", "node cordoned", "single", "node put back"} {
		if !strings.Contains(second.Stdout, line) {
			t.Errorf("the second client did not tell %q:\n%s", line, second.Stdout)
		}
	}
	third := s.answer(s.order(socket, "--attach"))
	if third.ExitCode != 3 || third.Stdout != second.Stdout {
		t.Errorf("afterwards: exit %d and (-second +third)\n%s", third.ExitCode, cmp.Diff(second.Stdout, third.Stdout))
	}
	begun := 0
	for _, record := range a.Records() {
		if record.Message == "Began drill" {
			begun++
		}
	}
	if begun != 1 {
		t.Errorf("%d drills were begun, want one", begun)
	}
	s.isBack(before)
}

func TestADrillThatItsAgentDoesNotOutliveIsUndoneByTheNextAgent(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, s.single())
	a, socket := s.drillable()
	before := s.looks()
	c := s.order(socket, "--notice", "5m")
	_, err := s.cordonedFor(agent.Drill)
	s.must(err)
	s.must(a.Kill())
	if answer := s.answer(c); answer.ExitCode != 1 {
		t.Errorf("the client ended with exit code %d, want 1", answer.ExitCode)
	}
	_, socket = s.drillable()
	s.must(s.lab.WaitNode(s.within(20*time.Second), s.doomed.Name(), clean))
	s.isBack(before)
	answer := s.answer(s.order(socket, "--attach"))
	if answer.ExitCode != 1 || !strings.Contains(answer.Stdout, "cut short") {
		t.Errorf("exit %d, want 1 and what became of the drill:\n%s%s", answer.ExitCode, answer.Stdout, answer.Stderr)
	}
}
