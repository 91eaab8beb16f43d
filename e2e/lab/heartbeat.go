package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
)

const (
	// heartbeat is the kubelet's: four renewals before the controller manager, which
	// waits for 50 s (40 s before 1.32), takes the node for dead.
	heartbeat     = 10 * time.Second
	leaseDuration = 40 * time.Second
	// heartbeatRetry is short, so that an API server that was away for most of the
	// controller manager's patience finds its nodes alive.
	heartbeatRetry = time.Second
)

// run makes the node Ready after its delay, keeps it so, and renews its lease until
// it dies. A controller manager that could not see the lease for a while marks the
// node as unknown; a live node says at once that it is Ready.
func (n *Node) run(ctx context.Context, readyDelay time.Duration) {
	boot := time.NewTimer(readyDelay)
	defer boot.Stop()
	// Spread, so that nodes that were added together do not renew together.
	beat := time.NewTimer(rand.N(heartbeat)) //nolint:gosec // A spread is no secret.
	defer beat.Stop()
	booted := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-boot.C:
			booted = true
		case <-n.unready:
			if !booted {
				continue
			}
		case <-beat.C:
			next := heartbeat
			if n.renewLease(ctx) != nil {
				next = heartbeatRetry
			}
			beat.Reset(next)
			continue
		}
		if n.reportReady(ctx) != nil {
			boot.Reset(heartbeatRetry)
		}
	}
}

// observeNode takes the news of a node from the watch.
func (f *fleet) observeNode(_, after *corev1.Node) {
	if after == nil || isReady(after) {
		return
	}
	f.mu.Lock()
	n := f.nodes[after.Name]
	f.mu.Unlock()
	if n == nil {
		return
	}
	select {
	case n.unready <- struct{}{}:
	default: // it knows
	}
}

func (n *Node) reportReady(ctx context.Context) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": conditions(true)}})
	if err != nil {
		return fmt.Errorf("encoding status of node %q: %w", n.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	_, err = n.fleet.client.CoreV1().Nodes().Patch(ctx, n.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

func (n *Node) renewLease(ctx context.Context) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"renewTime": metav1.NowMicro()}})
	if err != nil {
		return fmt.Errorf("encoding lease of node %q: %w", n.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	_, err = n.fleet.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).
		Patch(ctx, n.name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// createLease makes the node's lease; it goes with the Node object.
func (f *fleet) createLease(ctx context.Context, node *corev1.Node) error {
	seconds, now := int32(leaseDuration/time.Second), metav1.NowMicro()
	_, err := f.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID},
		}},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &node.Name, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}, metav1.CreateOptions{})
	return err
}

// nodeObject is what a kubelet registers.
func (f *fleet) nodeObject(n *Node, spec NodeSpec) *corev1.Node {
	labels := map[string]string{
		corev1.LabelHostname: spec.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH,
	}
	maps.Copy(labels, spec.Labels)
	allocatable := spec.Allocatable
	if allocatable == nil {
		allocatable = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("256Gi"),
			corev1.ResourcePods: resource.MustParse("250"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
		}
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: spec.Name, Labels: labels, Annotations: spec.Annotations},
		Spec:       corev1.NodeSpec{ProviderID: spec.ProviderID, Taints: spec.Taints},
		Status: corev1.NodeStatus{
			Conditions:  conditions(spec.ReadyDelay == 0),
			Allocatable: allocatable, Capacity: allocatable,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: n.ip.String()}, {Type: corev1.NodeHostName, Address: spec.Name},
			},
			NodeInfo: corev1.NodeSystemInfo{
				BootID: string(uuid.NewUUID()), MachineID: string(uuid.NewUUID()), SystemUUID: string(uuid.NewUUID()),
				OperatingSystem: "linux", Architecture: runtime.GOARCH, OSImage: "Ebbtide lab",
				KubeletVersion: f.kubeletVersion, ContainerRuntimeVersion: "lab://1",
			},
		},
	}
}

// conditions are those of a machine in good health. One that is not Ready has to say
// so: the controller manager takes the not-ready taint off a node that says nothing.
func conditions(ready bool) []corev1.NodeCondition {
	at := metav1.Now()
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, LastHeartbeatTime: at, LastTransitionTime: at}
	}
	node := condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady")
	if !ready {
		node = condition(corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady")
	}
	return []corev1.NodeCondition{
		node,
		condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"),
		condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"),
		condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"),
	}
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func hasTaint(node *corev1.Node, key string) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == key })
}
