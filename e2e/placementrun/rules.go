package placementrun

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
)

// apiextensionsGroup is that of CRDs; its package would be one more dependency.
const apiextensionsGroup = "apiextensions.k8s.io"

// PolicyRules are the rights of a replica, in whatever mode it is. Here they hold in every
// namespace; of the Secret and the Lease a cluster would grant them in the program's
// own.
func PolicyRules() []rbacv1.PolicyRule {
	rule := func(group, resource, name string, verbs ...string) rbacv1.PolicyRule {
		r := rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
		if name != "" {
			r.ResourceNames = []string{name}
		}
		return r
	}
	return []rbacv1.PolicyRule{
		// What decisions and audits are made by.
		rule(v1alpha1.GroupVersion.Group, "placementpolicies", "", "list", "watch"),
		rule(corev1.GroupName, "namespaces", "", "list", "watch"),
		rule(corev1.GroupName, "nodes", "", "list", "watch"),
		rule(corev1.GroupName, "pods", "", "list", "watch"),
		// The certificate and the entries that the API server calls by. What creates an
		// object cannot be bound to a name.
		rule(corev1.GroupName, "secrets", Secret, "get", "watch", "update"),
		rule(admissionregistrationv1.GroupName, "mutatingwebhookconfigurations", Configuration, "get", "list", "watch", "patch"),
		rule(admissionregistrationv1.GroupName, "mutatingwebhookconfigurations", "", "create"),
		// The admission policy that takes the webhook's place, and its trial: the pods that
		// are created are dry runs in the program's own namespace.
		rule(admissionregistrationv1.GroupName, "mutatingadmissionpolicies", "", "create", "list", "watch"),
		rule(admissionregistrationv1.GroupName, "mutatingadmissionpolicies", Configuration, "get", "patch", "update", "delete"),
		rule(admissionregistrationv1.GroupName, "mutatingadmissionpolicies", Configuration+"-trial", "get", "patch", "update", "delete"),
		rule(admissionregistrationv1.GroupName, "mutatingadmissionpolicybindings", "", "create", "list", "watch"),
		rule(admissionregistrationv1.GroupName, "mutatingadmissionpolicybindings", Configuration, "get", "patch", "update", "delete"),
		rule(admissionregistrationv1.GroupName, "mutatingadmissionpolicybindings", Configuration+"-trial", "get", "patch", "update", "delete"),
		rule(corev1.GroupName, "pods", "", "create"),
		rule(corev1.GroupName, "namespaces", "", "get"),
		// What the leader says and does.
		rule(coordinationv1.GroupName, "leases", "", "create"),
		rule(coordinationv1.GroupName, "leases", Configuration, "get", "update"),
		rule(v1alpha1.GroupVersion.Group, "placementpolicies/status", "", "patch"),
		rule(eventsv1.GroupName, "events", "", "create", "patch"),
		// What agents tell of interruptions.
		rule(eventsv1.GroupName, "events", "", "list", "watch"),
		rule(corev1.GroupName, "pods", "", "get", "patch", "delete"),
		rule(corev1.GroupName, "pods/eviction", "", "create"),
		// What an agent has left that does not come back, and the CRD, which Helm does not
		// upgrade.
		rule(corev1.GroupName, "nodes", "", "get", "patch"),
		rule(apiextensionsGroup, "customresourcedefinitions", "placementpolicies."+v1alpha1.GroupVersion.Group, "get", "patch"),
		// Those that ask for spot nodes are told of.
		rule(appsv1.GroupName, "daemonsets", "", "list"),
		// What speaks for or against a hand-over.
		rule(appsv1.GroupName, "replicasets", "", "get"),
		rule(appsv1.GroupName, "deployments", "", "get", "list", "watch"),
		rule(corev1.GroupName, "persistentvolumeclaims", "", "get"),
		rule(corev1.GroupName, "resourcequotas", "", "list"),
		rule(corev1.GroupName, "services", "", "list"),
		rule(networkingv1.GroupName, "networkpolicies", "", "list"),
		rule(policyv1.GroupName, "poddisruptionbudgets", "", "list"),
	}
}
