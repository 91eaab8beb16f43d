package admission

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
	"github.com/ebbtide/ebbtide/placement/status"
)

func TestAPolicySaysWhetherItIsRendered(t *testing.T) {
	t.Parallel()
	inForce := verdict{reason: InForce}
	refused := []placement.Refusal{{Policy: "dns", Reason: placement.NeedsClusterState, Message: "it asks for nodes"}}
	for name, c := range map[string]struct {
		generation int64 // of what was rendered; 0 when it was not among them
		spec       string
		refused    []placement.Refusal
		found      verdict
		want       string // status, reason and message; empty when it is left as it is
	}{
		"what is in force is rendered":               {2, requires, nil, inForce, "True InForce "},
		"what is refused is not":                     {2, requires, refused, inForce, "False NeedsClusterState it asks for nodes"},
		"another's refusal is nothing to it":         {2, requires, []placement.Refusal{{Policy: "web", Reason: placement.TooLarge}}, inForce, "True InForce "},
		"a trial that failed leaves it out":          {2, requires, nil, verdict{TrialFailed, "it came to nothing"}, "False TrialFailed it came to nothing"},
		"what is refused says so after a trial":      {2, requires, refused, verdict{TrialFailed, "it came to nothing"}, "False NeedsClusterState it asks for nodes"},
		"where nothing is served, that is said":      {2, requires, refused, verdict{NotServed, "not before 1.36"}, "False NotServed not before 1.36"},
		"what is newer is not judged":                {1, requires, nil, inForce, ""},
		"what is not known yet is not judged":        {0, requires, nil, inForce, ""},
		"what is not understood is told":             {0, "{mode: Often, match: {podSelector: {matchLabels: {a: b}}}}", nil, inForce, "False Invalid reading policy \"dns\": mode \"Often\""},
		"and so it is while another was not written": {0, "{mode: Required}", nil, verdict{NotWritten, "no"}, "False Invalid reading policy \"dns\": match is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := placementtest.Policy(t, "dns", c.spec)
			var items []v1alpha1.PlacementPolicy
			if c.generation > 0 {
				policy.Generation = c.generation
				items = append(items, policy)
			}
			wanted, _ := placement.Compile(items)
			policy.Generation = 2
			condition, known := rendered(&policy, wanted, c.refused, c.found)
			if !known || c.want == "" {
				if known != (c.want != "") {
					t.Errorf("it says %+v, want %q", condition, c.want)
				}
				return
			}
			got := string(condition.Status) + " " + condition.Reason + " " + condition.Message
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("it says %q, want %q", got, c.want)
			}
			if condition.Type != v1alpha1.ConditionRendered || condition.ObservedGeneration != 2 {
				t.Errorf("the condition is %+v", condition)
			}
		})
	}
}

func TestAMessageIsNoLongerThanTheCRDTakes(t *testing.T) {
	t.Parallel()
	policy := placementtest.Policy(t, "dns", requires)
	wanted, _ := placement.Compile([]v1alpha1.PlacementPolicy{policy})
	text := strings.Repeat("ä", 40<<10)
	condition, _ := rendered(&policy, wanted, nil, verdict{TrialFailed, text})
	if condition.Message != status.Message(text) || condition.Status != metav1.ConditionFalse {
		t.Errorf("the message has %d bytes, want %d", len(condition.Message), len(status.Message(text)))
	}
}
