package lab

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations of a pod that tell its life on a simulated node. Values are Go
// durations ("1500ms"), or "never". A value that is neither makes the pod fail with
// a message that says so.
const (
	// ReadyAfter is the time from the pod's arrival on the node until it is Running and Ready; 2s if absent.
	ReadyAfter = "lab.ebbtide.dev/ready-after"
	// CompletesAfter is the time from Ready until the pod has Succeeded by itself; never if absent.
	CompletesAfter = "lab.ebbtide.dev/completes-after"
	// ExitsAfter is the time from SIGTERM until the pod has ended by itself; 1s if absent.
	ExitsAfter = "lab.ebbtide.dev/exits-after"
)

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
	readyReported, endReported bool
	gone                       bool // it has no such pod any more
}

func (p *pod) ended() bool { return p.record.End != Running }

// duty is what a node owes the API server about a pod.
type duty int

const (
	nothing duty = iota
	reportReady
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
	case !p.ended() && !p.up.IsZero() && !p.readyReported:
		return reportReady
	}
	return nothing
}

// status is what a kubelet would report of the pod as the machine has it now.
func (p *pod) status() corev1.PodStatus {
	started := metav1.NewTime(p.record.StartedAt)
	status := corev1.PodStatus{
		HostIP: p.node.ip.String(), HostIPs: []corev1.HostIP{{IP: p.node.ip.String()}},
		PodIP: p.ip.String(), PodIPs: []corev1.PodIP{{IP: p.ip.String()}},
		StartTime: &started,
		QOSClass:  p.object.Status.QOSClass,
	}
	ready := corev1.ConditionTrue
	switch {
	case p.broken != nil:
		status.Phase, status.Reason, status.Message = corev1.PodFailed, "BadAnnotation", p.broken.Error()
	case p.record.End == Killed:
		status.Phase = corev1.PodFailed
	case p.ended():
		status.Phase = corev1.PodSucceeded
	default:
		status.Phase = corev1.PodRunning
	}
	reason, since := "", p.up
	if status.Phase != corev1.PodRunning {
		ready, reason, since = corev1.ConditionFalse, "Pod"+map[bool]string{true: "Completed", false: "Failed"}[status.Phase == corev1.PodSucceeded], p.record.EndedAt
	}
	for condition, value := range map[corev1.PodConditionType]corev1.ConditionStatus{
		corev1.PodInitialized: corev1.ConditionTrue, corev1.PodReadyToStartContainers: ready,
		corev1.ContainersReady: ready, corev1.PodReady: ready,
	} {
		c := corev1.PodCondition{Type: condition, Status: value, LastTransitionTime: metav1.NewTime(since)}
		if value == corev1.ConditionFalse {
			c.Reason = reason
		}
		status.Conditions = append(status.Conditions, c)
	}
	for _, container := range p.object.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, p.containerStatus(container, status.Phase))
	}
	return status
}

func (p *pod) containerStatus(container corev1.Container, phase corev1.PodPhase) corev1.ContainerStatus {
	running := phase == corev1.PodRunning
	status := corev1.ContainerStatus{
		Name: container.Name, Image: container.Image, ImageID: "lab://" + container.Image,
		ContainerID: "lab://" + string(p.record.UID) + "/" + container.Name,
		Ready:       running, Started: &running,
	}
	if running {
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(p.up)}
		return status
	}
	// 137 is what a shell calls SIGKILL.
	exit := corev1.ContainerStateTerminated{Reason: "Completed", FinishedAt: metav1.NewTime(p.record.EndedAt), ContainerID: status.ContainerID}
	if phase == corev1.PodFailed {
		exit.ExitCode, exit.Reason = 137, "Error"
	}
	if !p.up.IsZero() {
		exit.StartedAt = metav1.NewTime(p.up)
	}
	status.State.Terminated = &exit
	return status
}
