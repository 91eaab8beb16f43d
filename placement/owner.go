package placement

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rolloutHashLabel is what Argo Rollouts puts in the place of pod-template-hash.
const rolloutHashLabel = "rollouts-pod-template-hash"

// workload is what a pod belongs to.
type workload struct{ kind, name string }

// workloads lists what the pod alone tells of its owners: its controller, and behind
// a ReplicaSet the Deployment (or Rollout) that made it, whose name is the
// ReplicaSet's without the hash that both carry. Nothing is looked up: a controller
// that the cache has not seen yet would be an error in the path of a pod. A CronJob
// is not told: a Job may be called like one of its Jobs by anybody.
func workloads(pod *corev1.Pod) (found [2]workload, n int) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return found, 0
	}
	found[0] = workload{kind: owner.Kind, name: owner.Name}
	if owner.Kind != "ReplicaSet" {
		return found, 1
	}
	for _, maker := range [...]struct{ kind, label string }{
		{"Deployment", appsv1.DefaultDeploymentUniqueLabelKey},
		{"Rollout", rolloutHashLabel},
	} {
		hash := pod.Labels[maker.label]
		if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && hash != "" && name != "" {
			found[1] = workload{kind: maker.kind, name: name}
			return found, 2
		}
	}
	return found, 1
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
