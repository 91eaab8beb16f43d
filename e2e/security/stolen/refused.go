package stolen

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Request is one that client makes. Its error is the API server's answer.
type Request func(ctx context.Context, client kubernetes.Interface) error

// Attempt is a request that the API server shall refuse, for the reason that it says.
type Attempt struct {
	Says string
	Do   Request
}

// ByNoNode is the reason for which a token that names no node is refused everything.
const ByNoNode = "the token is bound to no node"

// byRole is what the API server says of a request that no role allows.
const byRole = "cannot"

// Refusal returns nil if err is a refusal by a policy or a role for the reason that says
// names, and otherwise an error that tells what it is.
func Refusal(err error, says string) error {
	switch {
	case err == nil:
		return fmt.Errorf("the API server allows what it shall refuse by %q", says)
	case !apierrors.IsForbidden(err):
		return fmt.Errorf("the API server answers no 403 but: %w", err)
	case !strings.Contains(err.Error(), says):
		return fmt.Errorf("the API server refuses it for another reason than %q: %w", says, err)
	}
	return nil
}

// Refused returns all that a thief tries, by what it aims at and by name.
func (v *Victims) Refused() map[string]map[string]Attempt {
	return map[string]map[string]Attempt{
		"of nodes":     v.nodes(),
		"elsewhere":    v.elsewhere(),
		"of own pods":  v.ownPods(),
		"of hand-over": v.handOvers(),
		"of endings":   v.endings(),
		"of Events":    v.events(),
		"by role":      v.byRoles(),
	}
}

// keep is the taint Keep in a patch, where taints are one list: all but what is meant
// has to stay as it is.
const keep = `{"key":"example.com/keep","effect":"PreferNoSchedule"}`

func (v *Victims) nodes() map[string]Attempt {
	patch := func(says, patch string) Attempt {
		return Attempt{says, func(ctx context.Context, c kubernetes.Interface) error { return PatchNode(ctx, c, v.Own, patch) }}
	}
	taints := func(taints string) Attempt { return patch("of a node's taints", `{"spec":{"taints":[`+taints+`]}}`) }
	return map[string]Attempt{
		"another node cordoned": {"may not change another node", func(ctx context.Context, c kubernetes.Interface) error {
			return PatchNode(ctx, c, v.Other, cordon)
		}},
		"another node tainted softly": {"may not change another node", func(ctx context.Context, c kubernetes.Interface) error {
			return PatchNode(ctx, c, v.Other, `{"spec":{"taints":[{"key":"ebbtide.dev/interruption","effect":"PreferNoSchedule"}]}}`)
		}},
		"a label":                     patch("of a node's labels", `{"metadata":{"labels":{"karpenter.sh/capacity-type":"on-demand"}}}`),
		"a label changed":             patch("of a node's labels", `{"metadata":{"labels":{"kubernetes.io/hostname":"x"}}}`),
		"a label taken off":           patch("of a node's labels", `{"metadata":{"labels":{"kubernetes.io/hostname":null}}}`),
		"a label like ours":           patch("of a node's labels", `{"metadata":{"labels":{"ebbtide.dev/interruption":"x"}}}`),
		"an annotation":               patch("of a node's annotations", `{"metadata":{"annotations":{"example.com/x":"y"}}}`),
		"a finalizer":                 patch("of a node's metadata", `{"metadata":{"finalizers":["example.com/x"]}}`),
		"an owner, by which it goes":  patch("of a node's metadata", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"x"}]}}`),
		"its pods' addresses":         patch("of a node's spec", `{"spec":{"podCIDR":"192.0.2.0/24","podCIDRs":["192.0.2.0/24"]}}`),
		"somebody's taint off":        taints(``),
		"another taint on":            taints(keep + `,{"key":"example.com/x","effect":"NoSchedule"}`),
		"another taint on softly":     taints(keep + `,{"key":"example.com/x","effect":"PreferNoSchedule"}`),
		"somebody's taint hardened":   taints(`{"key":"example.com/keep","effect":"NoSchedule"}`),
		"our taint, ending every pod": taints(keep + `,{"key":"ebbtide.dev/interruption","effect":"NoExecute"}`),
	}
}

func (v *Victims) elsewhere() map[string]Attempt {
	const says = "that is elsewhere"
	return map[string]Attempt{
		"a pod annotated": {says, func(ctx context.Context, c kubernetes.Interface) error { return PatchPod(ctx, c, v.Far, "", Announce) }},
		"a pod relabelled": {says, func(ctx context.Context, c kubernetes.Interface) error {
			return PatchPod(ctx, c, v.Far, "", `{"metadata":{"labels":{"app":"x"}}}`)
		}},
		"a pod's hash taken off": {says, func(ctx context.Context, c kubernetes.Interface) error {
			return replaceInPod(ctx, c, v.Far, handOver(v.hash, note(v.hash, v.replicaSet), v.deployment))
		}},
		"a pod marked": {says, func(ctx context.Context, c kubernetes.Interface) error {
			return PatchPod(ctx, c, v.Far, "status", Disrupt)
		}},
		"a pod deleted by its true UID":      {says, func(ctx context.Context, c kubernetes.Interface) error { return DeletePod(ctx, c, v.Far, ByUID(v.Far)) }},
		"a pod evicted by its true UID":      {says, func(ctx context.Context, c kubernetes.Interface) error { return Evict(ctx, c, v.Far, ByUID(v.Far)) }},
		"a pod evicted by the UID of an own": {says, func(ctx context.Context, c kubernetes.Interface) error { return Evict(ctx, c, v.Far, ByUID(v.Near)) }},
	}
}

func (v *Victims) ownPods() map[string]Attempt {
	patch := func(says, subresource, patch string) Attempt {
		return Attempt{says, func(ctx context.Context, c kubernetes.Interface) error {
			return PatchPod(ctx, c, v.Near, subresource, patch)
		}}
	}
	return map[string]Attempt{
		"a label, by which a Service finds it":  patch("of a pod's labels", "", `{"metadata":{"labels":{"app":"web"}}}`),
		"a label taken off":                     patch("of a pod's labels", "", `{"metadata":{"labels":{"app":null}}}`),
		"an annotation":                         patch("of a pod's annotations", "", `{"metadata":{"annotations":{"example.com/x":"y"}}}`),
		"its author's word on an advice":        patch("of a pod's annotations", "", `{"metadata":{"annotations":{"ebbtide.dev/critical":"true"}}}`),
		"its author's word on hand-overs":       patch("of a pod's annotations", "", `{"metadata":{"annotations":{"ebbtide.dev/hand-over":"Never"}}}`),
		"its author's word on waiting":          patch("of a pod's annotations", "", `{"metadata":{"annotations":{"ebbtide.dev/wait-for-completion":"true"}}}`),
		"a label like ours":                     patch("of a pod's labels", "", `{"metadata":{"labels":{"ebbtide.dev/critical":"true"}}}`),
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
		"even our annotation, by that same way": patch("metadata together with its status", "status", Announce),
	}
}

func (v *Victims) handOvers() map[string]Attempt {
	const says = "hash and owner"
	change := func(pod *corev1.Pod, patch string) Attempt {
		return Attempt{says, func(ctx context.Context, c kubernetes.Interface) error { return replaceInPod(ctx, c, pod, patch) }}
	}
	stranger := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "other", UID: "6f8f4ef8-0000-0000-0000-000000000000"}
	set := v.deployment
	set.Kind = "StatefulSet"
	misleading := strings.Replace(note(v.hash, stranger), `"n"`, fmt.Sprintf(`"\"replicaSetUID\":\"%s\""`, v.replicaSet.UID), 1)
	return map[string]Attempt{
		"the hash off, and nothing else":                        change(v.Kept, `{"metadata":{"labels":{"pod-template-hash":null}}}`),
		"the hash of another ReplicaSet":                        change(v.Kept, `{"metadata":{"labels":{"pod-template-hash":"x"}}}`),
		"the mark, and nothing else":                            change(v.Kept, `{"metadata":{"labels":{"ebbtide.dev/handed-over":"x"}}}`),
		"no owner any more":                                     change(v.Kept, `{"metadata":{"ownerReferences":null}}`),
		"handed over to a StatefulSet":                          change(v.Kept, handOver(v.hash, note(v.hash, v.replicaSet), set)),
		"handed over to a ReplicaSet":                           change(v.Kept, handOver(v.hash, note(v.hash, v.replicaSet), stranger)),
		"handed over with a note that names another ReplicaSet": change(v.Kept, handOver(v.hash, note(v.hash, stranger), v.deployment)),
		"handed over with a note that names both":               change(v.Kept, handOver(v.hash, misleading, v.deployment)),
		"handed over with a note of another hash":               change(v.Kept, handOver(v.hash, note("x", v.replicaSet), v.deployment)),
		"handed over with the mark of another hash":             change(v.Kept, handOver("x", note(v.hash, v.replicaSet), v.deployment)),
		"handed over with its hash still on": change(v.Kept, strings.Replace(handOver(v.hash, note(v.hash, v.replicaSet), v.deployment),
			`"pod-template-hash":null,`, "", 1)),
		"a pod that has no hash handed over":    change(v.Near, handOver("", note("", v.replicaSet), v.deployment)),
		"taken back by another ReplicaSet":      change(v.Handed, takeBack(v.hash, stranger)),
		"taken back with another hash":          change(v.Handed, takeBack("x", v.replicaSet)),
		"another note on a pod handed over":     change(v.Handed, fmt.Sprintf(`{"metadata":{"annotations":{"ebbtide.dev/handed-over":%q}}}`, note(v.hash, stranger))),
		"a pod handed over given to a stranger": change(v.Handed, fmt.Sprintf(`{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"x","uid":%q,"controller":true}]}}`, stranger.UID)),
	}
}

func (v *Victims) endings() map[string]Attempt {
	return map[string]Attempt{
		"an eviction without a UID": {"only by its UID", func(ctx context.Context, c kubernetes.Interface) error {
			return Evict(ctx, c, v.Near, metav1.DeleteOptions{})
		}},
		"an eviction without grace": {"without grace", func(ctx context.Context, c kubernetes.Interface) error {
			return Evict(ctx, c, v.Near, Graceless(v.Near))
		}},
		"a deletion without a UID": {"only by its UID", func(ctx context.Context, c kubernetes.Interface) error {
			return DeletePod(ctx, c, v.Near, metav1.DeleteOptions{})
		}},
		"a deletion without grace": {"without grace", func(ctx context.Context, c kubernetes.Interface) error {
			return DeletePod(ctx, c, v.Near, Graceless(v.Near))
		}},
	}
}

func (v *Victims) events() map[string]Attempt {
	return map[string]Attempt{
		"in another's name": {"in the name of another", func(ctx context.Context, c kubernetes.Interface) error {
			event := AboutNode(v.Own, v.Own)
			event.ReportingInstance = v.Other
			return Tell(ctx, c, event)
		}},
		"in a kubelet's name": {"in the name of another", func(ctx context.Context, c kubernetes.Interface) error {
			event := AboutNode(v.Own, v.Own)
			event.ReportingController = "kubelet"
			return Tell(ctx, c, event)
		}},
		"about another node": {"about this node", func(ctx context.Context, c kubernetes.Interface) error {
			return Tell(ctx, c, AboutNode(v.Own, v.Other))
		}},
		"about a pod in relation to another node": {"about this node", func(ctx context.Context, c kubernetes.Interface) error {
			return Tell(ctx, c, aboutPod(v.Own, v.Far, v.Other))
		}},
		"about a Secret": {"about this node", func(ctx context.Context, c kubernetes.Interface) error {
			event := aboutPod(v.Own, v.Near, v.Own)
			event.Regarding.Kind = "Secret"
			return Tell(ctx, c, event)
		}},
	}
}
