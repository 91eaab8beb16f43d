package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

func TestAPodThatWaitsInVainIsReadmittedAndEveryReplicaKnows(t *testing.T) {
	t.Parallel()
	s := newScene(t, "pending", "{"+matchDNS+"}")
	s.ahead = pendingTimeout + time.Second
	requirements, err := json.Marshal(placement.Rules{}.Requirements())
	if err != nil {
		t.Fatal(err)
	}
	// No webhook serves the scene: the template says what it would have written.
	s.deploy(t, placement.DecisionAnnotation+`: '{"policy":"pending","decision":"Required","reason":"EnoughLongLivedNodes"}'`, `, affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: `+
		string(requirements)+`}]}}}`)
	before := s.pod(t, "the pod to wait", func(pod *corev1.Pod) bool {
		scheduled := unscheduled(pod)
		return scheduled != nil && scheduled.Reason == corev1.PodReasonUnschedulable
	})
	first, ofFirst := s.audit(t, "a")
	second, ofSecond := s.audit(t, "b")
	s.pod(t, "another pod in its place", func(pod *corev1.Pod) bool { return pod.UID != before.UID && pod.DeletionTimestamp == nil })
	controller := metav1.GetControllerOf(before).UID
	for _, runner := range []*Runner{first, second} {
		placementtest.Await(t, "the replica to know", func(context.Context) error {
			if known := runner.LatelyPending(); !slices.Contains(known, controller) {
				return fmt.Errorf("it knows of %q, and not of %q", known, controller)
			}
			return nil
		})
	}
	const leader = "ebbtide_placement_leader"
	leaders := ofFirst.value(leader) + ofSecond.value(leader)
	if leaders != 1 {
		t.Errorf("%.0f replicas lead, want one", leaders)
	}
}

func TestTheAPIServerTakesATimeoutThatCanBeMeant(t *testing.T) {
	t.Parallel()
	s := newScene(t, "timeouts", "{"+matchDNS+"}")
	for name, c := range map[string]struct{ fields, want string }{
		"the shortest":                   {"pendingTimeout: 30s", ""},
		"the longest":                    {"pendingTimeout: 1h", ""},
		"in two units":                   {"mode: Auto, pendingTimeout: 2m30s", ""},
		"too short":                      {"pendingTimeout: 29s", "from 30s to 1h"},
		"too long":                       {"pendingTimeout: 1h1s", "from 30s to 1h"},
		"negative":                       {"pendingTimeout: -60s", "should match"},
		"a number":                       {"pendingTimeout: 60", "must be of type string"},
		"without a unit":                 {`pendingTimeout: "60"`, "should match"},
		"in days":                        {"pendingTimeout: 1d", "should match"},
		"where a pod never waits":        {"mode: Preferred, pendingTimeout: 60s", "pendingTimeout is of the mode Auto"},
		"where it waits as long as need": {"mode: Required, pendingTimeout: 60s", "pendingTimeout is of the mode Auto"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var fields map[string]any
			placementtest.Read(t, "{"+c.fields+"}", &fields)
			patch := placementtest.JSON(t, map[string]any{"spec": fields})
			_, err := s.dynamic.Resource(v1alpha1.PlacementPolicies).Patch(t.Context(), s.name, types.MergePatchType, patch,
				metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("the answer is %v, want %q", err, c.want)
			}
		})
	}
}
