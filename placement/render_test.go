package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

var equateEmpty = cmpopts.EquateEmpty()

// many makes policies that each match an app of their own, the first one first.
func many(t *testing.T, n int, mode v1alpha1.Mode) []v1alpha1.PlacementPolicy {
	t.Helper()
	items := make([]v1alpha1.PlacementPolicy, 0, n)
	for i := range n {
		policy := placementtest.Policy(t, fmt.Sprintf("policy-%03d", i), fmt.Sprintf("{match: {podSelector: {matchLabels: {app: app-%d}}}}", i))
		policy.Spec.Mode = mode
		items = append(items, policy)
	}
	return items
}

// lengthy is a policy whose match takes more than the given number of bytes.
func lengthy(t *testing.T, name string, bytes int) v1alpha1.PlacementPolicy {
	t.Helper()
	policy := placementtest.Policy(t, name, "{mode: Required}")
	var values []string
	for i := range bytes / 64 { // with quotes, comma and space
		values = append(values, fmt.Sprintf("%060d", i))
	}
	policy.Spec.Match.PodSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: values},
	}}
	return policy
}

func TestWhatAnAdmissionPolicyCannotDoIsRefused(t *testing.T) {
	t.Parallel()
	var heavy []v1alpha1.PlacementPolicy
	for i := range 20 {
		heavy = append(heavy, lengthy(t, fmt.Sprintf("heavy-%02d", i), 30<<10))
	}
	for name, c := range map[string]struct {
		policies []v1alpha1.PlacementPolicy
		refused  map[string]RefusalReason
		inForce  int
	}{
		"Auto with a fixed pool needs the nodes": {
			append(many(t, 2, v1alpha1.Preferred), placementtest.Policy(t, "auto", "{match: {podSelector: {matchLabels: {a: b}}}}")),
			map[string]RefusalReason{"auto": NeedsClusterState},
			2,
		},
		"Auto with an autoscaled pool does not": {
			[]v1alpha1.PlacementPolicy{placementtest.Policy(t, "auto", "{longLivedPool: Autoscaled, match: {podSelector: {matchLabels: {a: b}}}}")}, nil, 1,
		},
		"a match that is too long": {
			append(many(t, 1, v1alpha1.Required), lengthy(t, "long", 40<<10)), map[string]RefusalReason{"long": TooLarge}, 1,
		},
		"more policies than fit": {
			many(t, maxRendered+2, v1alpha1.Required), map[string]RefusalReason{"policy-200": TooManyPolicies, "policy-201": TooManyPolicies}, maxRendered,
		},
		"more text than fits": {
			heavy, map[string]RefusalReason{"heavy-17": TooManyPolicies, "heavy-18": TooManyPolicies, "heavy-19": TooManyPolicies}, 17,
		},
		"no policy at all": {nil, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rendering := Render(compiled(t, c.policies...), Rules{}, RenderOptions{Name: "x"})
			refused := map[string]RefusalReason{}
			for _, refusal := range rendering.Refused {
				refused[refusal.Policy] = refusal.Reason
				if refusal.Message == "" {
					t.Errorf("the refusal of %q has no words", refusal.Policy)
				}
			}
			if diff := cmp.Diff(c.refused, refused, equateEmpty); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			if got := rendering.InForce.Len(); got != c.inForce {
				t.Errorf("%d policies are in force, want %d", got, c.inForce)
			}
			for _, variable := range rendering.Policy.Spec.Variables {
				if len(variable.Expression) > maxMatch {
					t.Errorf("variable %q takes %d bytes", variable.Name, len(variable.Expression))
				}
			}
		})
	}
}

// governed is the condition by which the kube-system entry is narrowed.
func governed(t *testing.T, entries []admissionv1.MutatingWebhook) string {
	t.Helper()
	at := slices.IndexFunc(entries, func(e admissionv1.MutatingWebhook) bool { return e.Name == SystemEntryName })
	for _, condition := range entries[at].MatchConditions {
		if condition.Name == "governed" {
			return condition.Expression
		}
	}
	return ""
}

func TestTheSystemEntryIsNarrowedToPoliciesThatReachItsNamespace(t *testing.T) {
	t.Parallel()
	condition := governed(t, WebhookEntries(compiled(t,
		placementtest.Policy(t, "dns", `{match: {podSelector: {matchLabels: {k8s-app: kube-dns}}}}`),
		placementtest.Policy(t, "by-name", `{match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {app: here}}}}`),
		placementtest.Policy(t, "by-label", `{match: {namespaceSelector: {matchLabels: {team: infra}}, podSelector: {matchLabels: {app: perhaps}}}}`),
		placementtest.Policy(t, "elsewhere", `{match: {namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system]}]}, podSelector: {matchLabels: {app: elsewhere}}}}`),
	), EntryOptions{OwnNamespace: "ebbtide"}))
	for _, word := range []string{"kube-dns", "here", "perhaps", OverrideLongLived} {
		if !strings.Contains(condition, quote(word)) {
			t.Errorf("no word of %q in %s", word, condition)
		}
	}
	if strings.Contains(condition, quote("elsewhere")) {
		t.Errorf("a policy of other namespaces is in %s", condition)
	}
}

func TestAConditionThatWouldBeTooLongIsLeftOut(t *testing.T) {
	t.Parallel()
	policies := compiled(t, lengthy(t, "a", 40<<10), lengthy(t, "b", 40<<10))
	entries := WebhookEntries(policies, EntryOptions{OwnNamespace: "ebbtide"})
	if condition := governed(t, entries); condition != "" {
		t.Errorf("the condition takes %d bytes", len(condition))
	}
	if got := len(entries[1].MatchConditions); got != len(exemptions) {
		t.Errorf("%d conditions are left, want the %d exemptions", got, len(exemptions))
	}
}

func TestAWebhookInKubeSystemStillServesIt(t *testing.T) {
	t.Parallel()
	entries := WebhookEntries(Policies{}, EntryOptions{OwnNamespace: metav1.NamespaceSystem})
	var got [][]string
	for _, entry := range entries {
		got = append(got, entry.NamespaceSelector.MatchExpressions[0].Values)
	}
	if diff := cmp.Diff([][]string{{metav1.NamespaceSystem}, {metav1.NamespaceSystem}}, got); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
}
