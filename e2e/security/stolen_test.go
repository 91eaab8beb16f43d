package security

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/security/stolen"
)

// victims are what a thief finds in a scene.
type victims struct {
	*scene
	*stolen.Victims
}

func newVictims(t *testing.T) victims {
	t.Helper()
	s := newScene(t, lab.Shared(t))
	v := victims{s, &stolen.Victims{
		Own: s.own.Name(), Other: s.other.Name(), Namespace: s.namespace, Release: s.name,
		Near: s.pod("near", s.own), Far: s.pod("far", s.other),
	}}
	s.must(s.lab.Apply(t.Context(), s.namespace, fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {%s: 100ms}}
    spec: {nodeSelector: {kubernetes.io/hostname: %s}, containers: [{name: c, image: none}]}
`, lab.ReadyAfter, s.own.Name())))
	s.must(v.HandOver(t.Context(), s.lab.Client(), s.only("app=web")))
	v.Kept = s.only("app=web,pod-template-hash")
	return v
}

func TestAStolenTokenIsRefusedWhatItsAgentNeverAsks(t *testing.T) {
	t.Parallel()
	v := newVictims(t)
	for group, attempts := range v.Refused() {
		for name, attempt := range attempts {
			t.Run(group+"/"+name, func(t *testing.T) {
				t.Parallel()
				if err := stolen.Refusal(attempt.Do(t.Context(), v.client(v.bound)), attempt.Says); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestWhatIsAnAgentsWorkIsAllowedItAndNoTokenWithoutANode(t *testing.T) {
	t.Parallel()
	v := newVictims(t)
	for name, do := range v.Allowed() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := do(t.Context(), v.client(v.bound)); err != nil {
				t.Errorf("with the token of the agent's pod: %v", err)
			}
			if err := stolen.Refusal(do(t.Context(), v.client(v.unbound)), stolen.ByNoNode); err != nil {
				t.Errorf("with a token of no node: %v", err)
			}
		})
	}
}

func TestAPodThatHasJustEndedMayBeDeleted(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.must(s.lab.Apply(t.Context(), s.namespace, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: job, annotations: {%s: 100ms, %s: 100ms}}
spec: {nodeName: %s, restartPolicy: Never, containers: [{name: c, image: none}]}
`, lab.ReadyAfter, lab.CompletesAfter, s.own.Name())))
	var ended *corev1.Pod
	s.must(s.lab.WaitPods(s.within(30*time.Second), s.namespace, "", func(pods []corev1.Pod) bool {
		for i := range pods {
			if pods[i].Name == "job" && pods[i].Status.Phase == corev1.PodSucceeded {
				ended = &pods[i]
			}
		}
		return ended != nil
	}))
	// The API server sets the grace of such a pod to nothing, whatever was asked for.
	if err := stolen.DeletePod(t.Context(), s.client(s.bound), ended, stolen.ByUID(ended)); err != nil {
		t.Error(err)
	}
}
