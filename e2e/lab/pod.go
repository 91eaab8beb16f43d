package lab

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations of a pod that tell its life on a simulated node. Values are Go
// durations ("1500ms"), or "never". A pod with a value that is neither stays
// Pending, with a message that says so.
const (
	// ReadyAfter is the time from the pod's arrival on the node until it is Running and Ready; 2s if absent.
	ReadyAfter = "lab.ebbtide.dev/ready-after"
	// CompletesAfter is the time from Ready until the pod has Succeeded by itself; never if absent.
	CompletesAfter = "lab.ebbtide.dev/completes-after"
	// ExitsAfter is the time from SIGTERM until the pod has ended by itself; 1s if absent.
	ExitsAfter = "lab.ebbtide.dev/exits-after"
)

// badAnnotation is the reason in the status of a pod whose life cannot be read.
const badAnnotation = "BadAnnotation"

// never is a duration that no lab lives to see the end of.
const never = 1000 * time.Hour

// script is the life that a pod's annotations tell.
type script struct {
	readyAfter, completesAfter, exitsAfter time.Duration
}

func parseScript(annotations map[string]string) (script, error) {
	s := script{readyAfter: 2 * time.Second, completesAfter: never, exitsAfter: time.Second}
	for key, into := range map[string]*time.Duration{
		ReadyAfter: &s.readyAfter, CompletesAfter: &s.completesAfter, ExitsAfter: &s.exitsAfter,
	} {
		value, present := annotations[key]
		if !present {
			continue
		}
		if value == "never" {
			*into = never
			continue
		}
		parsed, err := time.ParseDuration(value)
		if err != nil || parsed < 0 {
			return s, fmt.Errorf("annotation %q is neither a duration nor \"never\": %q", key, value)
		}
		*into = parsed
	}
	return s, nil
}

// pod is a pod on a simulated node. The fleet's mutex guards it.
type pod struct {
	record PodRecord
	node   *Node
	object *corev1.Pod // as first seen: the parts that cannot change are read from it
	script script
	broken error // of the script
	ip     netip.Addr

	timer *time.Timer // the next thing that happens on the machine by itself
	up    time.Time   // the containers have run since; zero until then
	told  bool

	// What the API server has been told, which may lag behind the machine.
	startReported, endReported bool
	gone                       bool               // it has no such pod any more
	abort                      context.CancelFunc // of the request that is under way
}

func (p *pod) ended() bool { return p.record.End != Running }

// duty is what a node owes the API server about a pod.
type duty int

const (
	nothing duty = iota
	reportStart
	reportEnd
	remove
)

// owes is the next duty. The end is reported before the removal, as a kubelet does:
// controllers of Jobs count what they read in the last status.
func (p *pod) owes() duty {
	switch {
	case p.gone || p.node.dead:
		return nothing
	case p.ended() && !p.endReported:
		return reportEnd
	case p.ended() && p.told:
		return remove
	case !p.ended() && !p.startReported && (!p.up.IsZero() || p.broken != nil):
		return reportStart
	}
	return nothing
}

// status is what a kubelet would report of the pod as the machine has it now.
func (p *pod) status() corev1.PodStatus {
	started := metav1.NewTime(p.record.StartedAt)
	status := corev1.PodStatus{
		Phase:  p.phase(),
		HostIP: p.node.ip.String(), HostIPs: []corev1.HostIP{{IP: p.node.ip.String()}},
		StartTime: &started,
		QOSClass:  p.object.Status.QOSClass,
	}
	if p.broken != nil {
		status.Reason, status.Message = badAnnotation, p.broken.Error()
	}
	if !p.up.IsZero() {
		status.PodIP, status.PodIPs = p.ip.String(), []corev1.PodIP{{IP: p.ip.String()}}
	}
	running, reason, since := corev1.ConditionTrue, "", p.up
	switch status.Phase {
	case corev1.PodSucceeded:
		running, reason, since = corev1.ConditionFalse, "PodCompleted", p.record.EndedAt
	case corev1.PodFailed:
		running, reason, since = corev1.ConditionFalse, "PodFailed", p.record.EndedAt
	case corev1.PodPending:
		running, reason, since = corev1.ConditionFalse, "ContainersNotReady", p.record.StartedAt
	case corev1.PodRunning, corev1.PodUnknown:
	}
	condition := func(kind corev1.PodConditionType, value corev1.ConditionStatus, reason string) {
		status.Conditions = append(status.Conditions, corev1.PodCondition{
			Type: kind, Status: value, Reason: reason, LastTransitionTime: metav1.NewTime(since),
		})
	}
	condition(corev1.PodInitialized, corev1.ConditionTrue, "")
	condition(corev1.PodReadyToStartContainers, running, "")
	condition(corev1.ContainersReady, running, reason)
	condition(corev1.PodReady, running, reason)
	for _, container := range p.object.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, p.containerStatus(container, status.Phase))
	}
	return status
}

func (p *pod) phase() corev1.PodPhase {
	switch {
	case p.ended() && p.exitCode() == 0:
		return corev1.PodSucceeded
	case p.ended():
		return corev1.PodFailed
	case p.up.IsZero():
		return corev1.PodPending
	}
	return corev1.PodRunning
}

// exitCode is that of a container that has ended. A server that handles SIGTERM
// returns 0; work that was to complete has not, and a Job must not count it.
func (p *pod) exitCode() int32 {
	const killed, terminated = 128 + 9, 128 + 15 // by signal, as a container runtime reports it
	switch {
	case p.record.End == Killed:
		return killed
	case p.record.End == Exited && (p.up.IsZero() || p.script.completesAfter != never):
		return terminated
	}
	return 0
}

func (p *pod) containerStatus(container corev1.Container, phase corev1.PodPhase) corev1.ContainerStatus {
	running := phase == corev1.PodRunning
	status := corev1.ContainerStatus{Name: container.Name, Image: container.Image, Ready: running, Started: &running}
	if p.up.IsZero() {
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
		if p.broken != nil {
			status.State.Waiting.Reason, status.State.Waiting.Message = badAnnotation, p.broken.Error()
		}
		return status
	}
	status.ImageID = "lab://" + container.Image
	status.ContainerID = "lab://" + string(p.record.UID) + "/" + container.Name
	if running {
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(p.up)}
		return status
	}
	status.State.Terminated = &corev1.ContainerStateTerminated{
		Reason: "Completed", StartedAt: metav1.NewTime(p.up), FinishedAt: metav1.NewTime(p.record.EndedAt), ContainerID: status.ContainerID,
	}
	if phase == corev1.PodFailed {
		status.State.Terminated.Reason, status.State.Terminated.ExitCode = "Error", p.exitCode()
	}
	return status
}
