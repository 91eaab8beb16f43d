package placement

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

func TestPoliciesWinByPriorityAndThenByName(t *testing.T) {
	t.Parallel()
	const match = `match: {podSelector: {matchLabels: {app: x}}}`
	policies := compiled(t,
		placementtest.Policy(t, "b", `{`+match+`}`),
		placementtest.Policy(t, "low", `{priority: -1, `+match+`}`),
		placementtest.Policy(t, "other", `{priority: 9, match: {podSelector: {matchLabels: {app: y}}}}`),
		placementtest.Policy(t, "a", `{`+match+`}`),
		placementtest.Policy(t, "high", `{priority: 7, `+match+`}`),
	)
	if diff := cmp.Diff([]string{"other", "high", "a", "b", "low"}, policies.Names()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	pod := placementtest.Pod(t, "metadata: {labels: {app: x}}")
	if diff := cmp.Diff([]string{"high", "a", "b", "low"}, policies.Governing(pod, Namespace{})); diff != "" {
		t.Errorf("governing (-want +got):\n%s", diff)
	}
	pod.Spec.NodeName = "n1"
	if got := policies.Governing(pod, Namespace{}); len(got) != 4 {
		t.Errorf("a running pod is governed by %q, want the same", got)
	}
}

func TestNobodyGovernsAPodThatCannotBePlaced(t *testing.T) {
	t.Parallel()
	policies := casePolicies(t)
	for name, pod := range map[string]string{
		"opted out":        "metadata: {labels: {want: required}, annotations: {ebbtide.dev/placement: any}}",
		"of a DaemonSet":   owned("DaemonSet", "x", "want: required"),
		"a mirror pod":     "metadata: {labels: {want: required}, annotations: {kubernetes.io/config.mirror: x}}",
		"without a policy": "metadata: {labels: {want: nothing}}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := policies.Governing(placementtest.Pod(t, pod), Namespace{}); got != nil {
				t.Errorf("governed by %q", got)
			}
		})
	}
}

func TestAPolicyThatCannotBeUnderstoodIsLeftOutAlone(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]string{
		"an empty match":             `{match: {}}`,
		"selectors of everything":    `{match: {namespaceSelector: {}, podSelector: {}}}`,
		"a broken namespaceSelector": `{match: {namespaceSelector: {matchLabels: {"a b": c}}}}`,
		"a broken podSelector":       `{match: {podSelector: {matchExpressions: [{key: a, operator: In}]}}}`,
		"an unknown mode":            `{mode: Maybe, match: {podSelector: {matchLabels: {a: b}}}}`,
		"a toleration of all":        `{match: {podSelector: {matchLabels: {a: b}}}, tolerations: [{}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := placementtest.Policy(t, "good", `{match: {podSelector: {matchLabels: {a: b}}}}`)
			policies, rejections := Compile([]v1alpha1.PlacementPolicy{placementtest.Policy(t, "bad", spec), good})
			if len(rejections) != 1 || rejections[0].Policy != "bad" || !strings.Contains(rejections[0].Err.Error(), `policy "bad"`) {
				t.Errorf("rejections %v, want one of the bad policy", rejections)
			}
			if diff := cmp.Diff([]string{"good"}, policies.Names()); diff != "" {
				t.Errorf("in force (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAGlobMeansWhatItsRegularExpressionMeans(t *testing.T) {
	t.Parallel()
	const alphabet = "a.*?"
	var words []string
	for n := 1; n <= 4; n++ {
		words = append(words, spell(alphabet, n)...)
	}
	names := []string{"a", "aa", "a.a", "aaa", "a.", "aba", "aaaaa", ".", "b"}
	for _, pattern := range words {
		expression := regexp.MustCompile(globPattern(pattern))
		for _, name := range names {
			if got, want := glob(pattern, name), expression.MatchString(name); got != want {
				t.Errorf("glob(%q, %q) is %t, the expression %s says %t", pattern, name, got, expression, want)
			}
		}
	}
}

// spell lists the words of n letters.
func spell(alphabet string, n int) []string {
	if n == 0 {
		return []string{""}
	}
	var words []string
	for _, word := range spell(alphabet, n-1) {
		for _, letter := range alphabet {
			words = append(words, word+string(letter))
		}
	}
	return words
}
