package main

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/placement"
)

const (
	// policyCount is as many policies as a large cluster has.
	policyCount = 50
	// governing is the policy that the pods match: the last one, of lowest priority.
	governing = "last"
	// governed is the label by which it does.
	governed = "ingress"
)

// manyPolicies are the manifests of policies of every kind, all with the mode Required:
// an admission policy can render it, and the webhook does the same with it. Only the
// last one matches the pod of this benchmark.
func manyPolicies() []string {
	manifest := func(name string, priority int, match string) string {
		return fmt.Sprintf(`
apiVersion: placement.ebbtide.dev/v1alpha1
kind: PlacementPolicy
metadata: {name: %s}
spec: {priority: %d, mode: Required, match: {%s}}
`, name, priority, match)
	}
	manifests := make([]string, 0, policyCount)
	for i := range policyCount - 1 {
		match := [...]string{
			"namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: team-%d}}",
			"podSelector: {matchLabels: {app: app-%d}}",
			"owners: [{kind: Deployment, name: 'gateway-%d-*'}, {kind: StatefulSet, name: 'queue-*'}]",
			"priorityClassNames: [class-%d]",
		}[i%4]
		manifests = append(manifests, manifest(fmt.Sprintf("policy-%d", i), i, fmt.Sprintf(match, i)))
	}
	return append(manifests, manifest(governing, -1, "podSelector: {matchLabels: {app: "+governed+"}}"))
}

// typicalPod is a pod like those that ingress controllers have. It has no owner, since a
// ReplicaSet's controller would count its pods and delete them, and a scheduler that
// does not exist: who binds and runs pods would be at work while the next ones are timed.
const typicalPod = `
metadata:
  generateName: ingress-nginx-controller-6f79748cff-
  labels:
    app: ` + governed + `
    app.kubernetes.io/name: ingress-nginx
    app.kubernetes.io/instance: ingress-nginx
    app.kubernetes.io/component: controller
    app.kubernetes.io/version: 1.12.0
    pod-template-hash: 6f79748cff
  annotations: {prometheus.io/scrape: "true", prometheus.io/port: "10254"}
spec:
  schedulerName: nobody
  dnsPolicy: ClusterFirst
  nodeSelector: {kubernetes.io/os: linux}
  terminationGracePeriodSeconds: 300
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector: {matchLabels: {app: ` + governed + `}}
  containers:
  - name: controller
    image: registry.example.com/ingress-nginx/controller:v1.12.0
    imagePullPolicy: IfNotPresent
    args: [--publish-service=$(POD_NAMESPACE)/ingress-nginx, --election-id=ingress-nginx-leader, --controller-class=example.com/ingress,
      --ingress-class=nginx, --configmap=$(POD_NAMESPACE)/ingress-nginx, --watch-ingress-without-class=true]
    env:
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: LD_PRELOAD, value: /usr/local/lib/libmimalloc.so}
    ports:
    - {name: http, containerPort: 80, protocol: TCP}
    - {name: https, containerPort: 443, protocol: TCP}
    - {name: metrics, containerPort: 10254, protocol: TCP}
    lifecycle: {preStop: {exec: {command: [/wait-shutdown]}}}
    livenessProbe: {httpGet: {path: /healthz, port: 10254, scheme: HTTP}, initialDelaySeconds: 10, periodSeconds: 10, failureThreshold: 5}
    readinessProbe: {httpGet: {path: /healthz, port: 10254, scheme: HTTP}, initialDelaySeconds: 10, periodSeconds: 10, failureThreshold: 3}
    resources: {requests: {cpu: 100m, memory: 90Mi}, limits: {memory: 512Mi}}
    securityContext:
      runAsNonRoot: true
      runAsUser: 101
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: false
      seccompProfile: {type: RuntimeDefault}
      capabilities: {add: [NET_BIND_SERVICE], drop: [ALL]}
    volumeMounts: [{name: configuration, mountPath: /etc/ingress, readOnly: true}]
  volumes: [{name: configuration, configMap: {name: ingress-nginx, optional: true}}]
`

// readPod returns the typical pod.
func readPod() (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(typicalPod), pod); err != nil {
		return nil, fmt.Errorf("reading the pod that is to be created: %w", err)
	}
	return pod, nil
}

// enlarged returns a pod of about 10 KiB, like that of the handler's own benchmark: with
// an affinity of its author's, each term of which is to be added to.
func enlarged(pod *corev1.Pod) *corev1.Pod {
	zone := func(name string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{name}},
		}}
	}
	pod = pod.DeepCopy()
	pod.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{zone("a"), zone("b")},
	}}
	for i := range 50 {
		pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", i), Value: strings.Repeat("v", 120)})
	}
	return pod
}

// isPlaced says whether a pod may run on long-lived nodes only, in each of the terms
// that its author has written, and says of itself that the governing policy wants it so.
func isPlaced(created, written *corev1.Pod) bool {
	record, has := placement.ReadRecord(created)
	if !has || record.Policy != governing || record.Outcome != placement.PlacedRequired {
		return false
	}
	longLived := placement.Rules{}.Requirements()
	before := termsOf(written)
	if len(before) == 0 {
		before = []corev1.NodeSelectorTerm{{}} // the one that is made
	}
	return slices.EqualFunc(termsOf(created), before, func(got, before corev1.NodeSelectorTerm) bool {
		return equality.Semantic.DeepEqual(got.MatchExpressions, slices.Concat(before.MatchExpressions, longLived))
	})
}

// isUntouched says whether a pod is as its author has written it.
func isUntouched(created, written *corev1.Pod) bool {
	_, has := placement.ReadRecord(created)
	return !has && equality.Semantic.DeepEqual(created.Spec.Affinity, written.Spec.Affinity)
}

func termsOf(pod *corev1.Pod) []corev1.NodeSelectorTerm {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}
