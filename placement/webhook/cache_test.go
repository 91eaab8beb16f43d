package webhook

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/placement/placementtest"
)

func TestOfAPodIsKeptWhatPlacementReads(t *testing.T) {
	t.Parallel()
	read := func(text string) *corev1.Pod {
		pod := &corev1.Pod{}
		placementtest.Read(t, text, pod)
		return pod
	}
	got, err := trimPod(read(`
metadata: {name: dns, labels: {app: dns}, annotations: {a: b, kubectl.kubernetes.io/last-applied-configuration: "{}"}, managedFields: [{manager: x}]}
spec:
  nodeName: spot-1
  initContainers:
  - {name: mesh, image: "example.com/mesh:1", restartPolicy: Always, resources: {requests: {cpu: 100m}}, env: [{name: A, value: b}]}
  containers:
  - {name: dns, image: "example.com/dns:1", args: [x], ports: [{containerPort: 53, hostPort: 53}], resources: {requests: {cpu: 200m}}}
  ephemeralContainers: [{name: debug, image: "example.com/debug:1"}]
  volumes: [{name: config, configMap: {name: dns}}]
  overhead: {cpu: 10m}
status:
  phase: Running
  conditions: [{type: Ready, status: "True"}]
  initContainerStatuses: [{name: mesh}]
  containerStatuses: [{name: dns}]
  ephemeralContainerStatuses: [{name: debug}]`))
	if err != nil {
		t.Fatal(err)
	}
	want := read(`
metadata: {name: dns, labels: {app: dns}, annotations: {a: b}}
spec:
  nodeName: spot-1
  initContainers: [{name: mesh, restartPolicy: Always, resources: {requests: {cpu: 100m}}}]
  containers: [{name: dns, resources: {requests: {cpu: 200m}}}]
  overhead: {cpu: 10m}
status: {phase: Running, conditions: [{type: Ready, status: "True"}]}`)
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}
