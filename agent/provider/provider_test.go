package provider

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestTheProviderIDTellsTheCloud(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ id, provider, why string }{
		"EC2":                                   {"aws:///eu-west-1a/i-0123456789abcdef0", AWS, ""},
		"Compute Engine":                        {"gce://project-1/europe-west1-b/gke-pool-1-abcd", GCP, ""},
		"an Azure scale set":                    {"azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/aks-pool-vmss/virtualMachines/7", Azure, ""},
		"Alibaba Cloud's own nodes":             {"cn-hangzhou.i-bp1abcdefghij", Alibaba, ""},
		"a region of Alibaba Cloud with digits": {"ap-southeast-1.i-t4n0123456789", Alibaba, ""},
		"Alibaba Cloud with a scheme":           {"alicloud://cn-hangzhou.i-bp1abcdefghij", Alibaba, ""},
		"Tencent Cloud":                         {"qcloud:///100003/ins-3ven36lk", Tencent, ""},
		"Tencent Cloud's native nodes":          {"tencentcloud://kn-abcdefgh", Tencent, ""},
		"Oracle's own id":                       {"ocid1.instance.oc1.eu-frankfurt-1.abcdefgh", None, "Oracle Cloud tells a machine nothing"},
		"Oracle with a scheme":                  {"oci://ocid1.instance.oc1.phx.abcdefgh", None, "Oracle Cloud tells a machine nothing"},
		"IBM":                                   {"ibm://account///cluster/worker", None, "IBM Cloud tells a machine nothing"},
		"DigitalOcean":                          {"digitalocean://12345", None, "DigitalOcean tells a machine nothing"},
		"EKS on a machine that is not Amazon's": {"eks-hybrid:///eu-west-1/shop/mi-0123456789abcdef0", None, "name the provider in the configuration"},
		"a single machine on Azure":             {"azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/pool-1", Azure, ""},
		"k3s, on whatever machine":              {"k3s://worker-1", None, "name the provider in the configuration"},
		"kind":                                  {"kind://docker/kind/kind-worker", None, "none of aws, gcp, azure, alibaba, tencent;"},
		"a cloud's name in another's id":        {"openstack:///aws://x", None, "name the provider"},
		"a scheme without what follows it":      {"aws", None, "name the provider"},
		"a scheme in capitals":                  {"AWS:///eu-west-1a/i-1", None, "name the provider"},
		"an instance without a region":          {"i-bp1abcdefghij", None, "name the provider"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := Of(c.id)
			if err != nil || found.Provider != c.provider || !strings.Contains(found.Why, c.why) || (found.Why == "") != (c.why == "") {
				t.Errorf("%q: %+v, %v; want %s, %q", c.id, found, err, c.provider, c.why)
			}
			if !slices.Contains(All, found.Provider) {
				t.Errorf("%q is none of the providers", found.Provider)
			}
		})
	}
}

func TestANodeWithoutProviderIDMayGetOne(t *testing.T) {
	t.Parallel()
	if found, err := Of(""); !errors.Is(err, ErrNoID) || found != (Found{}) {
		t.Errorf("%+v, %v; want %v", found, err, ErrNoID)
	}
}
