package audit

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// daemonSet makes a DaemonSet of pods with the label app=dns; more is of their metadata.
func daemonSet(t *testing.T, name, metadata, spec string) appsv1.DaemonSet {
	t.Helper()
	var made appsv1.DaemonSet
	placementtest.Read(t, "{spec: {template: {metadata: {labels: {app: dns}, "+metadata+"}, spec: {"+spec+"}}}}", &made)
	made.Namespace, made.Name, made.UID = "kube-system", name, types.UID(name)
	return made
}

const onSpot = "nodeSelector: {karpenter.sh/capacity-type: spot}"

func TestADaemonSetThatAsksForSpotIsTold(t *testing.T) {
	t.Parallel()
	affinity := func(terms string) string {
		return "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" + terms + "]}}}"
	}
	const spotTerm = "{matchExpressions: [{key: eks.amazonaws.com/capacityType, operator: In, values: [SPOT]}]}"
	for name, c := range map[string]struct {
		policy, metadata, spec string
		change                 func(*appsv1.DaemonSet)
		want                   string // its policy, and the key
	}{
		"by its selector":                          {auto, "", onSpot, nil, "dns karpenter.sh/capacity-type"},
		"by every term of its affinity":            {auto, "", affinity(spotTerm), nil, "dns eks.amazonaws.com/capacityType"},
		"not by one of its terms":                  {auto, "", affinity(spotTerm + ", {matchExpressions: [{key: zone, operator: Exists}]}"), nil, ""},
		"not when it runs on every node":           {auto, "", "", nil, ""},
		"not when it keeps off spot":               {auto, "", affinity("{matchExpressions: [{key: karpenter.sh/capacity-type, operator: NotIn, values: [spot]}]}"), nil, ""},
		"not when no policy means it":              {"{match: {podSelector: {matchLabels: {app: web}}}}", "", onSpot, nil, ""},
		"not when the policy cannot be understood": {"{match: {}}", "", onSpot, nil, ""},
		"by the priority that a policy means": {
			"{match: {priorityClassNames: [system-node-critical]}}", "", "priorityClassName: system-node-critical, " + onSpot, nil,
			"dns karpenter.sh/capacity-type",
		},
		"not by its namesake of another kind": {"{match: {owners: [{kind: Deployment}]}}", "", onSpot, nil, ""},
		"not when it opted out":               {auto, "annotations: {ebbtide.dev/placement: any}", onSpot, nil, ""},
		"by its own annotation": {
			"{match: {podSelector: {matchLabels: {app: web}}}}", "annotations: {ebbtide.dev/placement: long-lived}", onSpot, nil,
			" karpenter.sh/capacity-type",
		},
		"not when it is being deleted": {auto, "", onSpot, func(d *appsv1.DaemonSet) {
			d.DeletionTimestamp = &metav1.Time{Time: noon}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := daemonSet(t, "edge", c.metadata, c.spec)
			if c.change != nil {
				c.change(&made)
			}
			view := View{Policies: []v1alpha1.PlacementPolicy{policy(t, "dns", c.policy)}}
			found, err := SpotDaemonSets(view, []appsv1.DaemonSet{made}, placement.Rules{})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, spot := range found {
				got += spot.Policy + " " + spot.Key
			}
			if got != c.want {
				t.Errorf("it is found as %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheMessageAboutADaemonSetSaysWhoWantsWhatAndWhatToDo(t *testing.T) {
	t.Parallel()
	for want, spot := range map[string]SpotDaemonSet{
		`by policy "dns" its pods belong`:                         {Policy: "dns", Key: "example.com/spot"},
		`by the annotation ebbtide.dev/placement its pods belong`: {Key: "example.com/spot"},
	} {
		message := spot.Message()
		for _, part := range []string{want, "(example.com/spot)", "ebbtide.dev/placement=any"} {
			if !strings.Contains(message, part) {
				t.Errorf("%q is not in %q", part, message)
			}
		}
	}
}

func TestTheSameIsNotSaidOfADaemonSetAgainForAnHour(t *testing.T) {
	t.Parallel()
	edge, other := daemonSet(t, "edge", "", onSpot), daemonSet(t, "other", "", onSpot)
	both := []SpotDaemonSet{{DaemonSet: &edge}, {DaemonSet: &other}}
	watch := &daemonSetWatch{}
	for _, step := range []struct {
		after time.Duration
		found []SpotDaemonSet
		want  []string
	}{
		{0, both[:1], []string{"edge"}},
		{time.Minute, both, []string{"other"}},
		{2 * time.Minute, both[:1], nil},                             // the other one was mended
		{3 * time.Minute, both, []string{"other"}},                   // and broken again
		{repeatAfter - time.Second, both, nil},                       //
		{repeatAfter, both, []string{"edge"}},                        // of which nobody took heed
		{2*repeatAfter + time.Hour, both, []string{"edge", "other"}}, // nor of either
	} {
		var got []string
		for _, spot := range watch.news(step.found, noon.Add(step.after)) {
			got = append(got, spot.DaemonSet.Name)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("after %s it tells of %q, want %q", step.after, got, step.want)
		}
	}
}
