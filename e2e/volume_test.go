package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// volume writes a claim with its volume, and the attachment of that volume to the
// doomed node, which the lab has no driver to make.
func (s *scene) volume(name string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s-%[2]s}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  csi: {driver: lab.ebbtide.dev, volumeHandle: %[2]s}
  claimRef: {namespace: %[1]s, name: %[2]s}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %[2]s}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", volumeName: %[1]s-%[2]s, resources: {requests: {storage: 1Gi}}}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: %[1]s-%[2]s}
spec: {attacher: lab.ebbtide.dev, nodeName: %[3]s, source: {persistentVolumeName: %[1]s-%[2]s}}
`, s.namespace, name, s.doomed.Name())
}

// takeOff deletes the attachment of a volume of the scene: the driver's part.
func (s *scene) takeOff(name string) {
	s.t.Helper()
	s.must(s.lab.Client().StorageV1().VolumeAttachments().Delete(s.t.Context(), s.namespace+"-"+name, metav1.DeleteOptions{}))
}

// removeVolumes deletes what volume has made and belongs to no namespace.
func (s *scene) removeVolumes(names ...string) {
	s.t.Cleanup(func() {
		ctx := context.WithoutCancel(s.t.Context())
		for _, name := range names {
			_ = s.lab.Client().CoreV1().PersistentVolumes().Delete(ctx, s.namespace+"-"+name, metav1.DeleteOptions{})
			_ = s.lab.Client().StorageV1().VolumeAttachments().Delete(ctx, s.namespace+"-"+name, metav1.DeleteOptions{})
		}
	})
}

// mounts is a volume of a pod's spec, from the claim of that name.
func mounts(claim string) string {
	return "volumes: [{name: v, persistentVolumeClaim: {claimName: " + claim + "}}]"
}

func TestAPodWithAVolumeLeavesFirstAndTheReportTellsWhenTheVolumeCameOff(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(3,
		pods{name: "web", replicas: 2, labels: "tier: front"}.manifest(s),
		s.volume("data"),
		pods{name: "store", replicas: 1, spec: mounts("data")}.manifest(s))
	volume := s.namespace + "-data"
	s.removeVolumes("data")
	a := s.ready()
	s.interrupt(40 * time.Second)

	// The driver's part: the volume comes off two seconds after its pod ended.
	_, err := a.WaitRecord(s.within(20*time.Second), leaves("store"))
	s.must(err)
	<-time.After(2 * time.Second)
	s.takeOff("data")
	report := s.report(a, 30*time.Second)

	if len(report.Volumes) != 1 || report.Volumes[0].Volume != volume || report.Volumes[0].DetachedAt.IsZero() {
		t.Errorf("the report has the volumes %+v, want %s detached", report.Volumes, volume)
	}
	if first := report.Plan.Moves[0]; first.Class != drain.Stateful || first.DetachSeconds == 0 {
		t.Errorf("the first move is %+v, want the pod with the volume and time for its detach", first)
	}
	if taints := s.node().Spec.Taints; len(taints) > 2 {
		t.Errorf("the node carries %+v, want our taint and the one of every unschedulable node", taints)
	}
	s.noneLost()
}

func TestTheReportWaitsForTheVolumesOfPodsThatLeaveAlsoOfLateOnesAndForNoOthers(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.removeVolumes("own", "late")
	s.run(2,
		s.volume("own"), s.volume("late"),
		// It keeps its volume: nothing moves it.
		pods{name: "node-agent", kind: "DaemonSet", spec: mounts("own")}.manifest(s),
		// It keeps the drain going until the late pod is there.
		pods{name: "blocked", kind: "Pod", grace: 4 * time.Second}.manifest(s), budget("blocked", "blocked", "minAvailable", "1"))
	a := s.ready()
	s.interrupt(40 * time.Second)
	_, err := a.WaitLog(s.within(5*time.Second), "Planned drain")
	s.must(err)
	s.must(s.lab.Apply(t.Context(), s.namespace,
		pods{name: "late", kind: "Pod", spec: mounts("late") + ", nodeName: " + s.doomed.Name()}.manifest(s)))
	_, err = a.WaitRecord(s.within(20*time.Second), leaves("late"))
	s.must(err)
	_, err = a.WaitRecord(s.within(40*time.Second), leaves("blocked"))
	s.must(err)
	<-time.After(time.Second)
	s.takeOff("late")
	off := time.Now()
	report := s.report(a, 30*time.Second)

	if len(report.Volumes) != 1 || report.Volumes[0].Volume != s.namespace+"-late" || report.Volumes[0].DetachedAt.IsZero() {
		t.Errorf("the report has the volumes %+v, want the late pod's alone, detached", report.Volumes)
	}
	if waited := time.Since(off); waited > 3*time.Second {
		t.Errorf("the report came %s after the last volume of a pod that left, want at once", waited)
	}
}
