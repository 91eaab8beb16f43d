package placement

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// replicaSetMakers are the kinds that own pods through ReplicaSets: Kubernetes' own
// and Argo's.
var replicaSetMakers = [...]string{"Deployment", "Rollout"}

// hashLabel is the label under which a kind that owns pods through ReplicaSets puts
// the hash that ends their names; empty for other kinds.
func hashLabel(kind string) string {
	switch kind {
	case "Deployment":
		return appsv1.DefaultDeploymentUniqueLabelKey
	case "Rollout":
		return "rollouts-pod-template-hash"
	}
	return ""
}

// workload is what a pod belongs to.
type workload struct{ kind, name string }

// workloads lists what the pod alone tells of its owners: its controller, and behind
// a ReplicaSet the Deployment (or Rollout) that made it, whose name is the
// ReplicaSet's without the hash that both carry. Nothing is looked up: a controller
// that the cache has not seen yet would be an error in the path of a pod. A CronJob
// is not told: a Job may be called like one of its Jobs by anybody.
func workloads(pod *corev1.Pod) (found [3]workload, n int) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return found, 0
	}
	found[0], n = workload{kind: owner.Kind, name: owner.Name}, 1
	if owner.Kind != "ReplicaSet" {
		return found, n
	}
	for _, kind := range replicaSetMakers {
		hash := pod.Labels[hashLabel(kind)]
		if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && hash != "" && name != "" {
			found[n] = workload{kind: kind, name: name}
			n++
		}
	}
	return found, n
}

// glob says whether name matches pattern, in which * stands for any characters, none
// included, and ? for exactly one. The empty pattern matches every name.
func glob(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	p, n := 0, 0
	star, from := -1, 0 // the last *, and where in name it ended last
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
