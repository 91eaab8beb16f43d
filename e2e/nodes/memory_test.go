//go:build linux && e2e_nodes

package nodes_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/nodes"
)

// The bounds of an agent's resident memory on a node with forty pods. Most of it is the
// program itself, in pages that the kernel may take back.
const (
	idleBound  = 28 << 20
	drainBound = 36 << 20
	// idleFor is how old an agent is at least when it counts as idle: after that, what it
	// took to start has been given back if it ever is.
	idleFor = time.Minute
)

// crowd are those that fill up a node beside the scene's pods, its agent not counted.
const crowd = 40 - workloadPods

const crowdManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: crowd}
spec:
  replicas: COUNT
  selector: {matchLabels: {app: crowd}}
  template:
    metadata: {labels: {app: crowd}}
    spec:
      terminationGracePeriodSeconds: 10
      containers: [{name: main, image: IMAGE, args: [sleep, --linger, 2s]}]
`

// anAgentStaysSmall watches the memory of the agent on the doomed node, first idle and then
// in a drain of two minutes, which takes the node away.
func anAgentStaysSmall(t *testing.T, s *scene) {
	t.Helper()
	node := s.doomed[0]
	fenceAround(t, s.cluster, node, true)
	apply(t, s.cluster, s.namespace, strings.ReplaceAll(crowdManifest, "COUNT", strconv.Itoa(crowd)))
	must(t, s.cluster.Lab().WaitPods(within(t, 2*time.Minute), s.namespace, "app=crowd", lab.AllReady(crowd)))
	fenceAround(t, s.cluster, node, false)
	pod, process := agentOn(t, s.cluster, node)
	if age := time.Since(pod.CreationTimestamp.Time); age < idleFor {
		<-time.After(idleFor - age) // nothing happens that could be waited for: that is the point
	}

	// The mark of what it took to start says nothing about an idle agent: it is set back.
	forgetPeak(t, process)
	peak, err := watchMemory(process, time.After(10*time.Second))
	must(t, err)
	figure(t, "resident memory of the agent, idle", mebibytes(idleBound), mebibytes(peak), peak > 0 && peak <= idleBound)

	s.reclaim(t)
	peak, err = watchMemory(process, node.Gone())
	must(t, err)
	s.awaitDeath(t)
	for _, story := range stories(t, s.cluster, node) {
		t.Logf("%d pods were to move, %d were not; it took %.0f s", len(story.Report.Plan.Moves), len(story.Report.Plan.Skips), story.TookSeconds)
		if len(story.Report.Plan.Moves) < workloadPods+crowd {
			t.Error("a smaller drain than the figure is about")
		}
	}
	figure(t, "resident memory of the agent, at its peak in a drain", mebibytes(drainBound), mebibytes(peak), peak > 0 && peak <= drainBound)
	s.judge(t)
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// forgetPeak sets the mark of a process's highest resident memory back to what it has; see
// proc_pid_clear_refs(5).
func forgetPeak(t *testing.T, process nodes.Process) {
	t.Helper()
	must(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", process.PID), []byte("5"), 0))
}

// watchMemory returns the highest resident memory of a process until it ends or the time
// is over, in bytes. The kernel keeps that mark, so that nothing is missed between two
// looks; there are several because the mark goes with the process.
func watchMemory[T any](process nodes.Process, over <-chan T) (peak int64, err error) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		mark, err := highestResident(process)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			return peak, nil
		}
		if err != nil {
			return peak, err
		}
		peak = max(peak, mark)
		select {
		case <-ticker.C:
		case <-over:
			return peak, nil
		}
	}
}

// highestResident reads the mark; it is 0 for a process that has just ended.
func highestResident(process nodes.Process) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.PID))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of the agent: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(status)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == "VmHWM:" && fields[2] == "kB" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, nil
}
