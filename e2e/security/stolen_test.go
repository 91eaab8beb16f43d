package security

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// victims are what a thief finds: pods on the token's own node and elsewhere.
type victims struct {
	*scene
	near, far *corev1.Pod
	// kept is of a Deployment's ReplicaSet, handed is handed over; both on the own node.
	kept, handed           *corev1.Pod
	hash                   string
	replicaSet, deployment metav1.OwnerReference
}

// attempt is a request that the API server shall refuse, for the reason that it says.
type attempt struct {
	says string
	do   func(context.Context, kubernetes.Interface) error
}

// byRole is what the API server says of a request that no role allows.
const byRole = "cannot"

func newVictims(t *testing.T) *victims {
	t.Helper()
	s := newScene(t, lab.Shared(t))
	v := &victims{scene: s, near: s.pod("near", s.own), far: s.pod("far", s.other)}
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
	v.handed = s.only("app=web")
	v.hash = v.handed.Labels["pod-template-hash"]
	v.replicaSet = *metav1.GetControllerOf(v.handed)
	deployment, err := s.lab.Client().AppsV1().Deployments(s.namespace).Get(t.Context(), "web", metav1.GetOptions{})
	s.must(err)
	v.deployment = metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: deployment.UID}
	v.handed, err = s.lab.Client().CoreV1().Pods(s.namespace).Patch(t.Context(), v.handed.Name, types.MergePatchType,
		[]byte(handOver(v.hash, note(v.hash, v.replicaSet), v.deployment)), metav1.PatchOptions{})
	s.must(err)
	v.kept = s.only("app=web,pod-template-hash")
	return v
}

func TestAStolenTokenIsRefusedWhatItsAgentNeverAsks(t *testing.T) {
	t.Parallel()
	v := newVictims(t)
	groups := map[string]map[string]attempt{
		"of nodes":     v.nodes(),
		"elsewhere":    v.elsewhere(),
		"of own pods":  v.ownPods(),
		"of hand-over": v.handOvers(),
		"of endings":   v.endings(),
		"of Events":    v.events(),
		"by role":      v.byRoles(),
	}
	for group, attempts := range groups {
		for name, attempt := range attempts {
			t.Run(group+"/"+name, func(t *testing.T) {
				t.Parallel()
				refused(t, attempt.do(t.Context(), v.client(v.bound)), attempt.says)
			})
		}
	}
}

// refused fails the test unless err is a refusal by a policy or a role, for that reason.
func refused(t *testing.T, err error, says string) {
	t.Helper()
	switch {
	case err == nil:
		t.Error("the API server allows it")
	case !apierrors.IsForbidden(err):
		t.Errorf("the API server says %q, want a 403", err)
	case !strings.Contains(err.Error(), says):
		t.Errorf("the API server refuses it for another reason: %q, want %q", err, says)
	}
}

func (v *victims) nodes() map[string]attempt {
	patch := func(says, patch string) attempt {
		return attempt{says, func(ctx context.Context, c kubernetes.Interface) error { return patchNode(ctx, c, v.own.Name(), patch) }}
	}
	// Taints are one list to a patch: all but what is meant stays as it is.
	taints := func(taints string) attempt { return patch("of a node's taints", `{"spec":{"taints":[`+taints+`]}}`) }
	return map[string]attempt{
		"another node cordoned": {"may not change another node", func(ctx context.Context, c kubernetes.Interface) error {
			return patchNode(ctx, c, v.other.Name(), cordon)
		}},
		"a label":                     patch("of a node's labels", `{"metadata":{"labels":{"karpenter.sh/capacity-type":"on-demand"}}}`),
		"a label changed":             patch("of a node's labels", `{"metadata":{"labels":{"kubernetes.io/hostname":"x"}}}`),
		"a label taken off":           patch("of a node's labels", `{"metadata":{"labels":{"kubernetes.io/hostname":null}}}`),
		"a label like ours":           patch("of a node's labels", `{"metadata":{"labels":{"ebbtide.dev/interruption":"x"}}}`),
		"an annotation":               patch("of a node's annotations", `{"metadata":{"annotations":{"example.com/x":"y"}}}`),
		"a finalizer":                 patch("of a node's metadata", `{"metadata":{"finalizers":["example.com/x"]}}`),
		"an owner, by which it goes":  patch("of a node's metadata", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"x"}]}}`),
		"its machine's name":          patch("of a node's spec", `{"spec":{"providerID":"aws:///eu-west-1a/i-0"}}`),
		"somebody's taint off":        taints(``),
		"another taint on":            taints(keep + `,{"key":"example.com/x","effect":"NoSchedule"}`),
		"our taint, ending every pod": taints(keep + `,{"key":"ebbtide.dev/interruption","effect":"NoExecute"}`),
	}
}

func (v *victims) elsewhere() map[string]attempt {
	const says = "that is elsewhere"
	return map[string]attempt{
		"a pod annotated": {says, func(ctx context.Context, c kubernetes.Interface) error { return patchPod(ctx, c, v.far, "", announce) }},
		"a pod relabelled": {says, func(ctx context.Context, c kubernetes.Interface) error {
			return patchPod(ctx, c, v.far, "", `{"metadata":{"labels":{"app":"x"}}}`)
		}},
		"a pod's hash taken off": {says, func(ctx context.Context, c kubernetes.Interface) error {
			return replaceInPod(ctx, c, v.far, handOver(v.hash, note(v.hash, v.replicaSet), v.deployment))
		}},
		"a pod marked": {says, func(ctx context.Context, c kubernetes.Interface) error {
			return patchPod(ctx, c, v.far, "status", disrupt)
		}},
		"a pod deleted by its true UID":      {says, func(ctx context.Context, c kubernetes.Interface) error { return deletePod(ctx, c, v.far, byUID(v.far)) }},
		"a pod evicted by its true UID":      {says, func(ctx context.Context, c kubernetes.Interface) error { return evict(ctx, c, v.far, byUID(v.far)) }},
		"a pod evicted by the UID of an own": {says, func(ctx context.Context, c kubernetes.Interface) error { return evict(ctx, c, v.far, byUID(v.near)) }},
	}
}

func (v *victims) ownPods() map[string]attempt {
	patch := func(says, subresource, patch string) attempt {
		return attempt{says, func(ctx context.Context, c kubernetes.Interface) error {
			return patchPod(ctx, c, v.near, subresource, patch)
		}}
	}
	return map[string]attempt{
		"a label, by which a Service finds it":  patch("of a pod's labels", "", `{"metadata":{"labels":{"app":"web"}}}`),
		"a label taken off":                     patch("of a pod's labels", "", `{"metadata":{"labels":{"app":null}}}`),
		"an annotation":                         patch("of a pod's annotations", "", `{"metadata":{"annotations":{"example.com/x":"y"}}}`),
		"a finalizer":                           patch("of a pod's metadata", "", `{"metadata":{"finalizers":["example.com/x"]}}`),
		"an owner":                              patch("hash and owner", "", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"x","uid":"x"}]}}`),
		"an image":                              patch("may not change a pod's spec", "", `{"spec":{"containers":[{"name":"c","image":"example.com/x"}]}}`),
		"a toleration":                          patch("may not change a pod's spec", "", `{"spec":{"tolerations":[{"key":"example.com/x","operator":"Exists"}]}}`),
		"a time limit":                          patch("may not change a pod's spec", "", `{"spec":{"activeDeadlineSeconds":1}}`),
		"readiness":                             patch("of a pod's status", "status", `{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`),
		"an address":                            patch("of a pod's status", "status", `{"status":{"podIP":"192.0.2.1"}}`),
		"a phase":                               patch("of a pod's status", "status", `{"status":{"phase":"Failed"}}`),
		"a label, by way of the status":         patch("metadata together with its status", "status", `{"metadata":{"labels":{"app":"web"}}}`),
		"an annotation, by way of the status":   patch("metadata together with its status", "status", `{"metadata":{"annotations":{"example.com/x":"y"}}}`),
		"even our annotation, by that same way": patch("metadata together with its status", "status", announce),
	}
}

func (v *victims) handOvers() map[string]attempt {
	const says = "hash and owner"
	change := func(pod *corev1.Pod, patch string) attempt {
		return attempt{says, func(ctx context.Context, c kubernetes.Interface) error { return replaceInPod(ctx, c, pod, patch) }}
	}
	stranger := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "other", UID: "6f8f4ef8-0000-0000-0000-000000000000"}
	set := v.deployment
	set.Kind = "StatefulSet"
	misleading := strings.Replace(note(v.hash, stranger), `"n"`, fmt.Sprintf(`"\"replicaSetUID\":\"%s\""`, v.replicaSet.UID), 1)
	return map[string]attempt{
		"the hash off, and nothing else":                        change(v.kept, `{"metadata":{"labels":{"pod-template-hash":null}}}`),
		"the hash of another ReplicaSet":                        change(v.kept, `{"metadata":{"labels":{"pod-template-hash":"x"}}}`),
		"the mark, and nothing else":                            change(v.kept, `{"metadata":{"labels":{"ebbtide.dev/handed-over":"x"}}}`),
		"no owner any more":                                     change(v.kept, `{"metadata":{"ownerReferences":null}}`),
		"handed over to a StatefulSet":                          change(v.kept, handOver(v.hash, note(v.hash, v.replicaSet), set)),
		"handed over to a ReplicaSet":                           change(v.kept, handOver(v.hash, note(v.hash, v.replicaSet), stranger)),
		"handed over with a note that names another ReplicaSet": change(v.kept, handOver(v.hash, note(v.hash, stranger), v.deployment)),
		"handed over with a note that names both":               change(v.kept, handOver(v.hash, misleading, v.deployment)),
		"handed over with a note of another hash":               change(v.kept, handOver(v.hash, note("x", v.replicaSet), v.deployment)),
		"handed over with the mark of another hash":             change(v.kept, handOver("x", note(v.hash, v.replicaSet), v.deployment)),
		"handed over with its hash still on": change(v.kept, strings.Replace(handOver(v.hash, note(v.hash, v.replicaSet), v.deployment),
			`"pod-template-hash":null,`, "", 1)),
		"a pod that has no hash handed over":    change(v.near, handOver("", note("", v.replicaSet), v.deployment)),
		"taken back by another ReplicaSet":      change(v.handed, takeBack(v.hash, stranger)),
		"taken back with another hash":          change(v.handed, takeBack("x", v.replicaSet)),
		"another note on a pod handed over":     change(v.handed, fmt.Sprintf(`{"metadata":{"annotations":{"ebbtide.dev/handed-over":%q}}}`, note(v.hash, stranger))),
		"a pod handed over given to a stranger": change(v.handed, fmt.Sprintf(`{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"x","uid":%q,"controller":true}]}}`, stranger.UID)),
	}
}

func (v *victims) endings() map[string]attempt {
	return map[string]attempt{
		"an eviction without a UID": {"only by its UID", func(ctx context.Context, c kubernetes.Interface) error {
			return evict(ctx, c, v.near, metav1.DeleteOptions{})
		}},
		"an eviction without grace": {"without grace", func(ctx context.Context, c kubernetes.Interface) error {
			return evict(ctx, c, v.near, graceless(v.near))
		}},
		"a deletion without a UID": {"only by its UID", func(ctx context.Context, c kubernetes.Interface) error {
			return deletePod(ctx, c, v.near, metav1.DeleteOptions{})
		}},
		"a deletion without grace": {"without grace", func(ctx context.Context, c kubernetes.Interface) error {
			return deletePod(ctx, c, v.near, graceless(v.near))
		}},
	}
}

func (v *victims) events() map[string]attempt {
	return map[string]attempt{
		"in another's name": {"in the name of another", func(ctx context.Context, c kubernetes.Interface) error {
			event := v.aboutNode(v.own.Name())
			event.ReportingInstance = v.other.Name()
			return tell(ctx, c, event)
		}},
		"in a kubelet's name": {"in the name of another", func(ctx context.Context, c kubernetes.Interface) error {
			event := v.aboutNode(v.own.Name())
			event.ReportingController = "kubelet"
			return tell(ctx, c, event)
		}},
		"about another node": {"about this node", func(ctx context.Context, c kubernetes.Interface) error {
			return tell(ctx, c, v.aboutNode(v.other.Name()))
		}},
		"about a pod in relation to another node": {"about this node", func(ctx context.Context, c kubernetes.Interface) error {
			return tell(ctx, c, v.aboutPod(v.far, v.other.Name()))
		}},
		"about a Secret": {"about this node", func(ctx context.Context, c kubernetes.Interface) error {
			event := v.aboutPod(v.near, v.own.Name())
			event.Regarding.Kind = "Secret"
			return tell(ctx, c, event)
		}},
	}
}

// byRoles are requests that no policy has to see.
func (v *victims) byRoles() map[string]attempt {
	ask := func(do func(context.Context, kubernetes.Interface) error) attempt { return attempt{byRole, do} }
	return map[string]attempt{
		"a Secret read": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets(v.namespace).Get(ctx, "x", metav1.GetOptions{})
			return err
		}),
		"all Secrets listed": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets("").List(ctx, metav1.ListOptions{})
			return err
		}),
		"a ConfigMap read": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().ConfigMaps(v.namespace).Get(ctx, v.name+"-agent", metav1.GetOptions{})
			return err
		}),
		"a token of its own account asked for": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().ServiceAccounts(v.namespace).CreateToken(ctx, v.name+"-agent", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		}),
		"a pod made": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Pods(v.namespace).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
			return err
		}),
		"all pods deleted": ask(func(ctx context.Context, c kubernetes.Interface) error {
			return c.CoreV1().Pods(v.namespace).DeleteCollection(ctx, metav1.DeleteOptions{DryRun: rehearsed}, metav1.ListOptions{})
		}),
		"its node deleted": ask(func(ctx context.Context, c kubernetes.Interface) error {
			return c.CoreV1().Nodes().Delete(ctx, v.own.Name(), metav1.DeleteOptions{DryRun: rehearsed})
		}),
		"its node's status": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Nodes().Patch(ctx, v.own.Name(), types.MergePatchType, []byte(`{"status":{}}`), metav1.PatchOptions{DryRun: rehearsed}, "status")
			return err
		}),
		"its node's policy deleted": ask(func(ctx context.Context, c kubernetes.Interface) error {
			return c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Delete(ctx, v.name+"-agent-node", metav1.DeleteOptions{DryRun: rehearsed})
		}),
		"a Deployment scaled": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.AppsV1().Deployments(v.namespace).Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{DryRun: rehearsed})
			return err
		}),
	}
}

// chores are what an agent does all day. They differ from the attempts above in no more
// than where they aim: were they refused, the refusals above would prove nothing.
func (v *victims) chores() map[string]func(context.Context, kubernetes.Interface) error {
	return map[string]func(context.Context, kubernetes.Interface) error{
		"its node cordoned": func(ctx context.Context, c kubernetes.Interface) error {
			return patchNode(ctx, c, v.own.Name(), cordon)
		},
		"its node tainted": func(ctx context.Context, c kubernetes.Interface) error {
			return patchNode(ctx, c, v.own.Name(), `{"spec":{"taints":[`+keep+`,{"key":"ebbtide.dev/interruption","value":"SpotInterruption","effect":"NoSchedule"}]}}`)
		},
		"its node taken out of load balancers": func(ctx context.Context, c kubernetes.Interface) error {
			return patchNode(ctx, c, v.own.Name(), `{"metadata":{"labels":{"node.kubernetes.io/exclude-from-external-load-balancers":""}}}`)
		},
		"a pod told its deadline": func(ctx context.Context, c kubernetes.Interface) error { return patchPod(ctx, c, v.near, "", announce) },
		"a pod marked": func(ctx context.Context, c kubernetes.Interface) error {
			return patchPod(ctx, c, v.near, "status", disrupt)
		},
		"a pod handed over": func(ctx context.Context, c kubernetes.Interface) error {
			return replaceInPod(ctx, c, v.kept, handOver(v.hash, note(v.hash, v.replicaSet), v.deployment))
		},
		"a pod taken back": func(ctx context.Context, c kubernetes.Interface) error {
			return replaceInPod(ctx, c, v.handed, takeBack(v.hash, v.replicaSet))
		},
		"a pod's deletion cost given back": func(ctx context.Context, c kubernetes.Interface) error {
			return replaceInPod(ctx, c, v.kept, `{"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":"7","ebbtide.dev/deletion-cost":null}}}`)
		},
		"a pod evicted": func(ctx context.Context, c kubernetes.Interface) error { return evict(ctx, c, v.near, byUID(v.near)) },
		"a pod deleted": func(ctx context.Context, c kubernetes.Interface) error {
			return deletePod(ctx, c, v.near, byUID(v.near))
		},
		"its node spoken of": func(ctx context.Context, c kubernetes.Interface) error {
			return tell(ctx, c, v.aboutNode(v.own.Name()))
		},
		"a pod spoken of": func(ctx context.Context, c kubernetes.Interface) error {
			return tell(ctx, c, v.aboutPod(v.near, v.own.Name()))
		},
	}
}

func TestWhatIsAnAgentsWorkIsAllowedItAndNoTokenWithoutANode(t *testing.T) {
	t.Parallel()
	v := newVictims(t)
	for name, do := range v.chores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := do(t.Context(), v.client(v.bound)); err != nil {
				t.Errorf("with the token of the agent's pod: %v", err)
			}
			refused(t, do(t.Context(), v.client(v.unbound)), "the token is bound to no node")
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
	if err := deletePod(t.Context(), s.client(s.bound), ended, byUID(ended)); err != nil {
		t.Error(err)
	}
}
