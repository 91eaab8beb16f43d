package status

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestAMessageIsCutBetweenTwoLetters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"and not where it fits":            {strings.Repeat("a", maxMessage), maxMessage},
		"when it is too long":              {strings.Repeat("a", maxMessage+1), maxMessage},
		"also where a letter is two bytes": {"a" + strings.Repeat("ä", maxMessage), maxMessage - 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Message(c.text)
			if len(got) != c.want || !utf8.ValidString(got) || !strings.HasPrefix(c.text, got) {
				t.Errorf("it has %d bytes, want %d", len(got), c.want)
			}
		})
	}
}

// Two parts of the program speak of one policy, and neither takes back what the other
// says.
func TestEachManagerSaysItsOwn(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	placementtest.InstallCRD(t, l)
	client, err := dynamic.NewForConfig(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	manifest := "{apiVersion: placement.ebbtide.dev/v1alpha1, kind: PlacementPolicy, metadata: {name: dns}, spec: {match: {priorityClassNames: [a]}}}"
	if err := l.Apply(t.Context(), "", manifest); err != nil {
		t.Fatal(err)
	}
	condition := func(kind string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "ForATest", LastTransitionTime: metav1.Now()}
	}
	write := func(manager string, status v1alpha1.PlacementPolicyStatus) *unstructured.Unstructured {
		t.Helper()
		written, err := Write(t.Context(), client, manager, "dns", status)
		if err != nil {
			t.Fatal(err)
		}
		return written
	}
	says := func(policy *unstructured.Unstructured) []string {
		t.Helper()
		var read v1alpha1.PlacementPolicy
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(policy.Object, &read); err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, c := range read.Status.Conditions {
			kinds = append(kinds, c.Type)
		}
		return kinds
	}
	write("one", v1alpha1.PlacementPolicyStatus{Conditions: []metav1.Condition{condition("Safe")}})
	both := write("other", v1alpha1.PlacementPolicyStatus{Conditions: []metav1.Condition{condition("Rendered")}})
	if diff := cmp.Diff([]string{"Safe", "Rendered"}, says(both)); diff != "" {
		t.Errorf("conditions of both (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Safe"}, says(write("other", v1alpha1.PlacementPolicyStatus{}))); diff != "" {
		t.Errorf("conditions when one says nothing any more (-want +got):\n%s", diff)
	}
	if written, err := Write(t.Context(), client, "one", "gone", v1alpha1.PlacementPolicyStatus{}); err != nil || written != nil {
		t.Errorf("of a policy that is not there it says %v, %v", written, err)
	}
}
