package audit

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

const guide = "../../docs/placement.md"

func readGuide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The table is what people trust when they look for their cloud.
func TestTheGuideListsEveryMark(t *testing.T) {
	t.Parallel()
	_, rest, _ := strings.Cut(readGuide(t), "<!-- marks: begin -->")
	table, _, found := strings.Cut(rest, "<!-- marks: end -->")
	if !found {
		t.Fatalf("%s has no table between the marks", guide)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[2:] {
		cells := strings.Split(line, "|")
		got = append(got, strings.TrimSpace(cells[2])+" "+strings.TrimSpace(cells[3]))
	}
	var want []string
	for _, mark := range placement.BuiltInMarks() {
		values := "any value"
		if len(mark.Values) > 0 {
			values = "`" + strings.Join(mark.Values, "`, `") + "`"
		}
		want = append(want, "`"+mark.Key+"` "+values)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("marks (-code +guide):\n%s", diff)
	}
}

func TestTheGuideNamesEveryReason(t *testing.T) {
	t.Parallel()
	text := readGuide(t)
	for _, reason := range placement.Reasons() {
		// Of this one the author hears only that nothing changed.
		if reason != placement.AlreadyPlaced && !strings.Contains(text, "`"+string(reason)+"`") {
			t.Errorf("reason %s is not explained", reason)
		}
	}
}

// guidePolicies reads the examples as the API server would, strictly.
func guidePolicies(t *testing.T) []v1alpha1.PlacementPolicy {
	t.Helper()
	var policies []v1alpha1.PlacementPolicy
	for i, block := range strings.Split(readGuide(t), "```yaml\n") {
		if i == 0 {
			continue
		}
		manifests, _, _ := strings.Cut(block, "```")
		for manifest := range strings.SplitSeq(manifests, "---\n") {
			var made v1alpha1.PlacementPolicy
			if err := yaml.UnmarshalStrict([]byte(manifest), &made); err != nil {
				t.Fatalf("reading an example: %v\n%s", err, manifest)
			}
			policies = append(policies, made)
		}
	}
	return policies
}

func TestTheExamplesGovernThePodsThatTheyAreFor(t *testing.T) {
	t.Parallel()
	policies, rejections := placement.Compile(guidePolicies(t))
	if len(rejections) > 0 {
		t.Fatal(rejections[0].Err)
	}
	for name, c := range map[string]struct {
		namespace, labels, spec string
		want                    []string
	}{
		"CoreDNS":                       {"kube-system", "k8s-app: kube-dns", "priorityClassName: system-cluster-critical", []string{"dns", "system-critical"}},
		"a namesake elsewhere":          {"default", "k8s-app: kube-dns", "", nil},
		"the controller of nginx":       {"ingress-nginx", "app.kubernetes.io/name: ingress-nginx, app.kubernetes.io/component: controller", "", []string{"ingress-nginx"}},
		"its certificate's Job":         {"ingress-nginx", "app.kubernetes.io/name: ingress-nginx, app.kubernetes.io/component: admission-webhook", "", nil},
		"Traefik":                       {"traefik", "app.kubernetes.io/name: traefik", "", []string{"traefik"}},
		"Istio's gateway":               {"istio-ingress", "istio: ingressgateway", "", []string{"istio-ingress"}},
		"a gateway of the Gateway API":  {"shop", "gateway.networking.k8s.io/gateway-name: shop", "", []string{"gateway-api"}},
		"whatever is called critical":   {"kube-system", "", "priorityClassName: system-cluster-critical", []string{"system-critical"}},
		"and nothing else in a cluster": {"shop", "app: shop", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := &corev1.Pod{}
			placementtest.Read(t, "{metadata: {labels: {"+c.labels+"}}, spec: {"+c.spec+"}}", made)
			namespace := placement.Namespace{Name: c.namespace, Labels: map[string]string{corev1.LabelMetadataName: c.namespace}}
			if got := policies.Governing(made, namespace); !slices.Equal(got, c.want) {
				t.Errorf("governed by %q, want %q", got, c.want)
			}
		})
	}
}
