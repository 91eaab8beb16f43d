package chart

import (
	"testing"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// A field that the API does not know, a rule that is none and a policy that its CRD
// refuses are found here, and not by the first user who turns something on. Kinds of
// the Prometheus operator and of cert-manager are no part of Kubernetes.
func TestAnAPIServerTakesEverythingThatTheChartCanMake(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	placementtest.InstallCRD(t, l)
	namespace := l.Namespace(t)
	values, _ := named(namespace)
	values["agent"] = map[string]any{"hostNetwork": false}
	values["resourceQuota"] = map[string]any{"enabled": true}
	values["sweep"] = map[string]any{"onUninstall": true}
	objects := rendered(t, Options{Namespace: namespace, Values: values})
	kinds := map[string]bool{}
	for _, o := range objects {
		kinds[o.GetKind()] = true
	}
	for _, kind := range []string{"DaemonSet", "Deployment", "Job", "NetworkPolicy", "PlacementPolicy", "ResourceQuota"} {
		if !kinds[kind] {
			t.Errorf("the chart makes no %s", kind)
		}
	}
	text, err := objects.YAML()
	must(t, err)
	must(t, l.Apply(t.Context(), namespace, text))
}
