package placement

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Every provider's nodes, as its provisioner labels them.
func TestEveryProvidersNodesAreToldApart(t *testing.T) {
	t.Parallel()
	const spot, longLived, neither = "spot", "long-lived", "neither"
	for name, c := range map[string]struct {
		labels []string
		want   string
	}{
		"Karpenter, spot":                    {[]string{"karpenter.sh/capacity-type=spot"}, spot},
		"Karpenter, on demand":               {[]string{"karpenter.sh/capacity-type=on-demand"}, longLived},
		"Karpenter, a capacity reservation":  {[]string{"karpenter.sh/capacity-type=reserved"}, longLived},
		"EKS, spot":                          {[]string{"eks.amazonaws.com/capacityType=SPOT"}, spot},
		"EKS, on demand":                     {[]string{"eks.amazonaws.com/capacityType=ON_DEMAND"}, longLived},
		"EKS, a capacity block":              {[]string{"eks.amazonaws.com/capacityType=CAPACITY_BLOCK"}, longLived},
		"GKE, spot":                          {[]string{"cloud.google.com/gke-spot=true", "cloud.google.com/gke-provisioning=spot"}, spot},
		"GKE, preemptible":                   {[]string{"cloud.google.com/gke-preemptible=true"}, spot},
		"GKE, preemptible by the new label":  {[]string{"cloud.google.com/gke-provisioning=preemptible"}, spot},
		"GKE, standard":                      {[]string{"cloud.google.com/gke-provisioning=standard"}, longLived},
		"AKS, spot":                          {[]string{"kubernetes.azure.com/scalesetpriority=spot"}, spot},
		"AKS, regular":                       {[]string{"kubernetes.azure.com/scalesetpriority=regular"}, longLived},
		"OKE, preemptible":                   {[]string{"oci.oraclecloud.com/oke-is-preemptible=true"}, spot},
		"Ocean, spot":                        {[]string{"spotinst.io/node-lifecycle=spot"}, spot},
		"Ocean, on demand":                   {[]string{"spotinst.io/node-lifecycle=od"}, longLived},
		"CAST AI, spot":                      {[]string{"scheduling.cast.ai/spot=true"}, spot},
		"CAST AI, no spot to be had":         {[]string{"scheduling.cast.ai/spot=true", "scheduling.cast.ai/spot-fallback=true"}, neither},
		"CAST AI, a fallback that is none":   {[]string{"scheduling.cast.ai/spot=true", "scheduling.cast.ai/spot-fallback=false"}, spot},
		"a fallback that is spot by another": {[]string{"scheduling.cast.ai/spot=true", "scheduling.cast.ai/spot-fallback=true", "lifecycle=spot"}, spot},
		"cluster-api, interruptible":         {[]string{"cluster.x-k8s.io/interruptible="}, spot},
		"OpenShift, interruptible":           {[]string{"machine.openshift.io/interruptible-instance="}, spot},
		"Zalando, spot":                      {[]string{"aws.amazon.com/spot=true"}, spot},
		"Zalando, on demand":                 {[]string{"aws.amazon.com/spot=false"}, longLived},
		"kops, by convention":                {[]string{"kops.k8s.io/instancetype=spot"}, spot},
		"by hand, NTH's way":                 {[]string{"lifecycle=spot"}, spot},
		"by hand, EKS' old way":              {[]string{"lifecycle=Ec2Spot"}, spot},
		"by hand, OpenCost's way":            {[]string{"lifecycle=EC2Spot"}, spot},
		"by hand, a node lifecycle":          {[]string{"node.kubernetes.io/lifecycle=spot"}, spot},
		"the rescheduler's role":             {[]string{"node-role.kubernetes.io/spot-worker=true"}, spot},
		"the rescheduler's role, in short":   {[]string{"kubernetes.io/role=spot-worker"}, spot},
		"a node without labels":              {nil, longLived},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, rules := labelled("node", c.labels...), Rules{}
			if got := rules.Spot(node.Labels); got != (c.want == spot) {
				t.Errorf("spot is %t, want %q", got, c.want)
			}
			if got := rules.LongLived(node.Labels); got != (c.want == longLived) {
				t.Errorf("long-lived is %t, want %q", got, c.want)
			}
			term := &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: rules.Requirements()}}}
			selector, err := nodeaffinity.NewNodeSelector(term)
			if err != nil {
				t.Fatal(err)
			}
			if got := selector.Match(&node); got != (c.want == longLived) {
				t.Errorf("the scheduler matches it: %t, want %q", got, c.want)
			}
		})
	}
}

func TestMarksOfOneKeyAreJoined(t *testing.T) {
	t.Parallel()
	own := []SpotMark{
		{Key: "example.com/kind", Values: []string{"cheap"}},
		{Key: "karpenter.sh/capacity-type", Values: []string{"spot", "preview"}},
		{Key: "lifecycle"},
	}
	rules, err := NewRules(slices.Concat(BuiltInMarks(), own)...)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]corev1.NodeSelectorRequirement{}
	for _, r := range rules.Requirements() {
		got[r.Key] = r
	}
	for _, want := range []corev1.NodeSelectorRequirement{
		{Key: "example.com/kind", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"cheap"}},
		{Key: "karpenter.sh/capacity-type", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"spot", "preview"}},
		{Key: "lifecycle", Operator: corev1.NodeSelectorOpDoesNotExist},
	} {
		if diff := cmp.Diff(want, got[want.Key]); diff != "" {
			t.Errorf("requirement (-want +got):\n%s", diff)
		}
	}
	if len(got) != len(builtInMarks)+1 {
		t.Errorf("%d keys, want one more than the built-in %d", len(got), len(builtInMarks))
	}
	if rules := (Rules{}).Requirements(); slices.ContainsFunc(rules, func(r corev1.NodeSelectorRequirement) bool { return slices.Contains(r.Values, "preview") }) {
		t.Error("the built-in rules have learnt a value of ours")
	}
}

func TestMarksThatNoNodeCanHaveAreRefused(t *testing.T) {
	t.Parallel()
	for name, marks := range map[string][]SpotMark{
		"none": nil, "no key": {{}}, "a broken key": {{Key: "a/b/c"}}, "a broken value": {{Key: "a", Values: []string{"b c"}}},
		"a broken exception": {{Key: "a", UnlessKey: "b", UnlessValue: "?"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := NewRules(marks...); err == nil {
				t.Errorf("accepted %v", marks)
			}
		})
	}
}

func TestWhoeverReadsTheRequirementsCannotChangeThem(t *testing.T) {
	t.Parallel()
	rules, err := NewRules(SpotMark{Key: "a", Values: []string{"b"}})
	if err != nil {
		t.Fatal(err)
	}
	rules.Requirements()[0].Values[0] = "changed"
	if rules.LongLived(map[string]string{"a": "b"}) {
		t.Error("the rules changed")
	}
}
