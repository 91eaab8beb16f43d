package stolen

import (
	"context"

	"k8s.io/client-go/kubernetes"
)

// Allowed is what an agent asks for all day, by name. It differs from what is refused in
// no more than where it aims: were it refused too, the refusals would prove nothing.
func (v *Victims) Allowed() map[string]Request {
	return map[string]Request{
		"its node cordoned": func(ctx context.Context, c kubernetes.Interface) error {
			return PatchNode(ctx, c, v.Own, cordon)
		},
		"its node tainted": func(ctx context.Context, c kubernetes.Interface) error {
			return PatchNode(ctx, c, v.Own, `{"spec":{"taints":[`+keep+`,{"key":"ebbtide.dev/interruption","value":"SpotInterruption","effect":"NoSchedule"}]}}`)
		},
		"its node tainted softly": func(ctx context.Context, c kubernetes.Interface) error {
			return PatchNode(ctx, c, v.Own, `{"spec":{"taints":[`+keep+`,{"key":"ebbtide.dev/interruption","value":"RebalanceAdvice","effect":"PreferNoSchedule"}]}}`)
		},
		"its node taken out of load balancers": func(ctx context.Context, c kubernetes.Interface) error {
			return PatchNode(ctx, c, v.Own, `{"metadata":{"labels":{"node.kubernetes.io/exclude-from-external-load-balancers":""}}}`)
		},
		"a pod told its deadline": func(ctx context.Context, c kubernetes.Interface) error { return PatchPod(ctx, c, v.Near, "", Announce) },
		"a pod marked": func(ctx context.Context, c kubernetes.Interface) error {
			return PatchPod(ctx, c, v.Near, "status", Disrupt)
		},
		"a pod handed over": func(ctx context.Context, c kubernetes.Interface) error {
			return replaceInPod(ctx, c, v.Kept, handOver(v.hash, note(v.hash, v.replicaSet), v.deployment))
		},
		"a pod taken back": func(ctx context.Context, c kubernetes.Interface) error {
			return replaceInPod(ctx, c, v.Handed, takeBack(v.hash, v.replicaSet))
		},
		"a pod's deletion cost given back": func(ctx context.Context, c kubernetes.Interface) error {
			return replaceInPod(ctx, c, v.Kept, `{"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":"7","ebbtide.dev/deletion-cost":null}}}`)
		},
		"a pod evicted": func(ctx context.Context, c kubernetes.Interface) error { return Evict(ctx, c, v.Near, ByUID(v.Near)) },
		"a pod deleted": func(ctx context.Context, c kubernetes.Interface) error {
			return DeletePod(ctx, c, v.Near, ByUID(v.Near))
		},
		"its node spoken of": func(ctx context.Context, c kubernetes.Interface) error {
			return Tell(ctx, c, AboutNode(v.Own, v.Own))
		},
		"a pod spoken of": func(ctx context.Context, c kubernetes.Interface) error {
			return Tell(ctx, c, aboutPod(v.Own, v.Near, v.Own))
		},
	}
}
