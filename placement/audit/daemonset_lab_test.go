package audit

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

func TestADaemonSetThatAsksForSpotHearsOfIt(t *testing.T) {
	t.Parallel()
	s := newScene(t, "edge", "{match: {podSelector: {matchLabels: {app: edge}}}}")
	manifest := `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: edge}, spec: {selector: {matchLabels: {app: edge}},
template: {metadata: {labels: {app: edge}}, spec: {nodeSelector: {scene: edge}, containers: [{name: edge, image: "example.com/edge:1"}],
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
{matchExpressions: [{key: karpenter.sh/capacity-type, operator: In, values: [spot]}]}]}}}}}}}`
	if err := s.Apply(t.Context(), s.namespace, manifest); err != nil {
		t.Fatal(err)
	}
	_, metrics := s.audit(t, "a")
	placementtest.Await(t, "an Event about the DaemonSet", func(ctx context.Context) error {
		list, err := s.Client().EventsV1().Events(s.namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=" + string(placement.Contradiction)})
		if err != nil {
			return err
		}
		for _, event := range list.Items {
			about := event.Regarding
			if about.APIVersion == "apps/v1" && about.Kind == "DaemonSet" && about.Name == "edge" && strings.Contains(event.Note, `policy "edge"`) {
				return nil
			}
		}
		return fmt.Errorf("there is none among %d of its reason", len(list.Items))
	})
	if got := metrics.value("ebbtide_placement_spot_daemonsets"); got != 1 {
		t.Errorf("%.0f are counted, want one", got)
	}
}
