//go:build linux && e2e_nodes

package nodes_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// judge holds what became of the scene against what Ebbtide promises, when the doomed
// nodes are gone. The containers' own logs are the evidence for the pods, the clients'
// for the traffic; what the agents say has to agree.
func (s *scene) judge(t *testing.T) {
	t.Helper()
	for _, node := range s.doomed {
		s.judgePods(t, node)
		s.judgeReport(t, node)
	}
	s.judgeTraffic(t)
	s.judgeDNS(t)
	gaps := s.ready.gaps()
	figure(t, "Deployments without a ready pod", "0", fmt.Sprint(len(gaps))+listed(gaps), len(gaps) == 0)
}

// judgePods reads how the containers on a doomed node ended: those that were there when the
// notice came, and those that came later.
func (s *scene) judgePods(t *testing.T, node *nodes.Node) {
	t.Helper()
	logs, err := s.cluster.Logs(s.namespace)
	must(t, err)
	var wrong []string
	ran, ended, hooks := map[types.UID]bool{}, 0, 0
	slack := notice
	for _, log := range logs {
		if log.Node != node.Name || len(log.Lines) == 0 {
			continue
		}
		ran[types.UID(log.UID)] = true
		e := readEnding(t, log)
		if e.hookEnded {
			hooks++
		}
		if complaint := e.complaint(node.DiedAt()); complaint != "" {
			wrong = append(wrong, log.Pod+" "+complaint)
			continue
		}
		ended++
		slack = min(slack, node.DiedAt().Sub(e.endedAt))
	}
	wantHooks, there := 0, s.podsOn(node)
	for _, pod := range there {
		if !ran[pod.UID] {
			wrong = append(wrong, pod.Name+" left no log")
		}
		if pod.Spec.Containers[0].Lifecycle != nil {
			wantHooks++
		}
	}
	figure(t, node.Name+": containers that ended by themselves", fmt.Sprintf("all that ran, %d at least", len(there)),
		fmt.Sprintf("%d, the last %.1f s before the end", ended, slack.Seconds())+listed(wrong), len(wrong) == 0 && ended >= len(there))
	figure(t, node.Name+": preStop hooks that ended", fmt.Sprintf("all, %d at least", wantHooks), fmt.Sprint(hooks), hooks >= wantHooks)
}

// listed are the details of a figure; none are nothing.
func listed(details []string) string {
	if len(details) == 0 {
		return ""
	}
	return ": " + strings.Join(details, "; ")
}

// podsOn returns the workloads' pods that were on a node when the scene was set.
func (s *scene) podsOn(node *nodes.Node) []corev1.Pod {
	return slices.DeleteFunc(slices.Clone(s.pods), func(pod corev1.Pod) bool { return pod.Spec.NodeName != node.Name })
}

// ending is how a container ended, by its own log.
type ending struct {
	attempt               int
	toldAt, endedAt       time.Time
	hookBegan, hookEnded  bool
	hookEndedAfterSIGTERM bool
}

func readEnding(t *testing.T, log nodes.Log) ending {
	t.Helper()
	e := ending{attempt: log.Attempt}
	for _, line := range log.Lines {
		var r record
		must(t, json.Unmarshal([]byte(line.Text), &r))
		switch r.Msg {
		case "Hook began":
			e.hookBegan = true
		case "Hook ended":
			e.hookEnded, e.hookEndedAfterSIGTERM = true, !e.toldAt.IsZero()
		case "Was told to stop":
			e.toldAt = line.At
		case "Ended":
			e.endedAt = line.At
		}
	}
	return e
}

// complaint says what is wrong with the end of a container whose machine died at a time;
// empty is nothing.
func (e ending) complaint(diedAt time.Time) string {
	switch {
	case e.attempt > 0:
		return "was restarted"
	case e.toldAt.IsZero():
		return "was never told to stop"
	case e.hookBegan && !e.hookEnded:
		return "its hook was cut short"
	case e.hookEndedAfterSIGTERM:
		return "was told to stop while its hook ran"
	case e.endedAt.IsZero():
		return "was cut short"
	case e.endedAt.After(diedAt):
		return "ended after its machine" // a clock that cannot be trusted proves nothing
	}
	return ""
}

func (s *scene) judgeTraffic(t *testing.T) {
	t.Helper()
	awaitTries(t, s.cluster, s.namespace, len(s.others), 20)
	what := map[string]string{"fetch": "failed requests", "lookup": "failed lookups"}
	for _, container := range clientContainers {
		failed := failuresOf(t, s.cluster, s.namespace, container, s.set)
		all := tries(t, s.cluster, s.namespace, container) - s.tried[container]
		figure(t, what[container], "0", fmt.Sprintf("%d of %d", len(failed), all)+listed(failed), len(failed) == 0)
	}
}

// judgeDNS reads on which nodes CoreDNS has ever run, from the logs that it left there.
func (s *scene) judgeDNS(t *testing.T) {
	t.Helper()
	logs, err := s.cluster.Logs(metav1.NamespaceSystem)
	must(t, err)
	ran := map[string]bool{}
	onSpot := 0
	for _, log := range logs {
		if log.Container != "coredns" {
			continue
		}
		ran[log.Node] = true
		if s.cluster.Node(log.Node).Spot {
			onSpot++
		}
	}
	figure(t, "CoreDNS pods that ever ran on spot nodes", "0", fmt.Sprintf("%d, on long-lived nodes %d", onSpot, len(ran)), onSpot == 0 && len(ran) > 0)
}

// story is the line that an agent logs at the end of a drain.
type story struct {
	Msg         string
	Complete    bool
	TookSeconds float64
	LeftSeconds float64
	Paths       map[drain.Path]int
	Report      drain.Report
}

// stories returns what the agents of a node have reported, in their order.
func stories(t *testing.T, cluster *nodes.Cluster, node *nodes.Node) []story {
	t.Helper()
	logs, err := cluster.Logs(release)
	must(t, err)
	var told []story
	for _, log := range logs {
		if log.Node != node.Name || log.Container != "agent" {
			continue
		}
		for _, line := range log.Lines {
			if !strings.Contains(line.Text, `"Drained node"`) {
				continue
			}
			var one story
			must(t, json.Unmarshal([]byte(line.Text), &one))
			told = append(told, one)
		}
	}
	return told
}

// judgeReport compares what the agent of a node says with what the containers' logs have
// said, in its log and in the Event that outlives the node.
func (s *scene) judgeReport(t *testing.T, node *nodes.Node) {
	t.Helper()
	told := stories(t, s.cluster, node)
	if len(told) != 1 {
		t.Errorf("the agents of %s have told %d stories, want 1", node.Name, len(told))
		return
	}
	figure(t, node.Name+": the agent's report", "complete, 0 lost",
		fmt.Sprintf("complete %t after %.1f s, %v", told[0].Complete, told[0].TookSeconds, told[0].Paths),
		told[0].Complete && told[0].Paths[drain.Lost] == 0)
	events, err := s.cluster.Lab().Client().EventsV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	var reasons []string
	for _, event := range events.Items {
		if event.Regarding.Kind == "Node" && event.Regarding.Name == node.Name && strings.HasPrefix(event.ReportingController, "ebbtide.dev/") {
			reasons = append(reasons, event.Reason)
		}
	}
	slices.Sort(reasons)
	want := []string{report.InterruptionNoticed, report.NodeDrained}
	figure(t, node.Name+": Events", fmt.Sprint(want), fmt.Sprint(reasons), slices.Equal(reasons, want))
}
