package stolen

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// byRoles are requests that no policy has to see.
func (v *Victims) byRoles() map[string]Attempt {
	ask := func(do Request) Attempt { return Attempt{byRole, do} }
	return map[string]Attempt{
		"a Secret read": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets(v.Namespace).Get(ctx, "x", metav1.GetOptions{})
			return err
		}),
		"all Secrets listed": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Secrets("").List(ctx, metav1.ListOptions{})
			return err
		}),
		"a ConfigMap read": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().ConfigMaps(v.Namespace).Get(ctx, v.Release+"-agent", metav1.GetOptions{})
			return err
		}),
		"a token of its own account asked for": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().ServiceAccounts(v.Namespace).CreateToken(ctx, v.Release+"-agent", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
			return err
		}),
		"a pod made": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Pods(v.Namespace).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
			return err
		}),
		"all pods deleted": ask(func(ctx context.Context, c kubernetes.Interface) error {
			return c.CoreV1().Pods(v.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{DryRun: Rehearsed}, metav1.ListOptions{})
		}),
		"its node deleted": ask(func(ctx context.Context, c kubernetes.Interface) error {
			return c.CoreV1().Nodes().Delete(ctx, v.Own, metav1.DeleteOptions{DryRun: Rehearsed})
		}),
		"its node's status": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.CoreV1().Nodes().Patch(ctx, v.Own, types.MergePatchType, []byte(`{"status":{}}`), metav1.PatchOptions{DryRun: Rehearsed}, "status")
			return err
		}),
		"its node's policy deleted": ask(func(ctx context.Context, c kubernetes.Interface) error {
			return c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Delete(ctx, v.Release+"-agent-node", metav1.DeleteOptions{DryRun: Rehearsed})
		}),
		"a Deployment scaled": ask(func(ctx context.Context, c kubernetes.Interface) error {
			_, err := c.AppsV1().Deployments(v.Handed.Namespace).Patch(ctx, v.deployment.Name, types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{DryRun: Rehearsed})
			return err
		}),
	}
}
