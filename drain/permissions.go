package drain

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// Permission is one verb that the agent needs, and what for.
type Permission struct {
	Group, Verb, Resource, Subresource string
	Why                                string
}

// String returns the permission as an RBAC rule names it: "patch pods/status".
func (p Permission) String() string {
	return p.Verb + " " + p.resource()
}

func (p Permission) resource() string {
	if p.Subresource == "" {
		return p.Resource
	}
	return p.Resource + "/" + p.Subresource
}

// Permissions is everything that a drain asks of the API server; of the core
// group where Group is empty.
var Permissions = []Permission{
	{"", "get", "nodes", "", "to read what the node carries before it is cordoned"},
	{"", "patch", "nodes", "", "to cordon, taint and annotate the node, and to undo it"},
	{"", "list", "nodes", "", "to leave one ready node behind the load balancers"},
	{"", "list", "pods", "", "to plan the drain"},
	{"", "watch", "pods", "", "to see pods leave"},
	{"", "create", "pods", "eviction", "to evict within disruption budgets"},
	{"", "delete", "pods", "", "to tell a pod to stop whose budget never opens"},
	{"", "patch", "pods", "", "to tell a pod that asks the deadline, and to hand pods over"},
	{"", "patch", "pods", "status", "to set DisruptionTarget on a pod that is deleted"},
	{"policy", "list", "poddisruptionbudgets", "", "to know which evictions can pass"},
	{"policy", "watch", "poddisruptionbudgets", "", "to see when they can"},
	{"", "get", "pods", "", "to take a pod back that was handed over"},
	{"apps", "get", "replicasets", "", "to know whether a pod can be handed over"},
	{"apps", "get", "deployments", "", "to know whether a pod can be handed over"},
	{"apps", "list", "deployments", "", "to await a replacement"},
	{"apps", "watch", "deployments", "", "to await a replacement"},
	{"", "get", "persistentvolumeclaims", "", "to hand over no pod whose volume one node holds, and to report the volumes of those that leave"},
	{"", "list", "resourcequotas", "", "to hand over no pod that a quota has no room for"},
	{"networking.k8s.io", "list", "networkpolicies", "", "to hand over no pod whose policy selects on its hash"},
	{"storage.k8s.io", "list", "volumeattachments", "", "to report which volumes came off the machine"},
	{"storage.k8s.io", "watch", "volumeattachments", "", "to see when they do"},
	{"", "list", "services", "", "to keep the node behind load balancers while it serves, and for hand-overs"},
}

// PolicyRules returns Permissions as the rules of a ClusterRole.
func PolicyRules() []rbacv1.PolicyRule {
	rules := make([]rbacv1.PolicyRule, 0, len(Permissions))
	for _, p := range Permissions {
		rules = append(rules, rbacv1.PolicyRule{
			APIGroups: []string{p.Group}, Resources: []string{p.resource()}, Verbs: []string{p.Verb},
		})
	}
	return rules
}

// Missing asks the API server which of Permissions the client's user lacks. One
// request for each permission; every user may ask about itself.
func (c *Client) Missing(ctx context.Context) ([]Permission, error) {
	var missing []Permission
	for _, p := range Permissions {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: p.Verb, Group: p.Group, Resource: p.Resource, Subresource: p.Subresource, Version: "v1",
			},
		}}
		err := c.core.Post().MaxRetries(0).
			AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").
			Body(review).Do(ctx).Into(review)
		if err != nil {
			return nil, fmt.Errorf("asking whether we may %s: %w", p, err)
		}
		if !review.Status.Allowed {
			missing = append(missing, p)
		}
	}
	return missing, nil
}

// Explain joins permissions and their reasons on one line.
func Explain(permissions []Permission) string {
	texts := make([]string, 0, len(permissions))
	for _, p := range permissions {
		texts = append(texts, fmt.Sprintf("%s (%s)", p, p.Why))
	}
	return strings.Join(texts, ", ")
}
