package drain

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// amounts is a list of quantities in YAML's notation.
type amounts map[corev1.ResourceName]string

func (a amounts) list() corev1.ResourceList {
	list := corev1.ResourceList{}
	for name, amount := range a {
		list[name] = resource.MustParse(amount)
	}
	return list
}

func TestHandOverNeedsRoomInEveryQuota(t *testing.T) {
	t.Parallel()
	// It requests 500m CPU and 1 GiB, may use 1 CPU, and holds a GPU.
	pod := newPod("a")
	pod.Spec.PriorityClassName = "high"
	pod.Status.QOSClass = corev1.PodQOSBurstable
	pod.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
		Requests: amounts{"cpu": "500m", "memory": "1Gi", "example.com/gpu": "1"}.list(),
		Limits:   amounts{"cpu": "1", "example.com/gpu": "1"}.list(),
	}}}
	quota := func(name corev1.ResourceName, used, hard string) corev1.ResourceQuota {
		return corev1.ResourceQuota{Status: corev1.ResourceQuotaStatus{Used: amounts{name: used}.list(), Hard: amounts{name: hard}.list()}}
	}
	full := quota("pods", "9", "9")
	scoped := func(scope corev1.ResourceQuotaScope) corev1.ResourceQuota {
		q := *full.DeepCopy()
		q.Spec.Scopes = []corev1.ResourceQuotaScope{scope}
		return q
	}
	classed := func(operator corev1.ScopeSelectorOperator, values ...string) corev1.ResourceQuota {
		q := *full.DeepCopy()
		q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
			{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: operator, Values: values},
		}}
		return q
	}
	uncounted := corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: amounts{"pods": "0"}.list()}}

	cases := map[string]struct {
		quota corev1.ResourceQuota
		want  bool
	}{
		"one more pod":                              {quota("pods", "8", "9"), true},
		"no more pod":                               {full, false},
		"more pods than it allows":                  {quota("pods", "12", "9"), false},
		"no more object":                            {quota("count/pods", "9", "9"), false},
		"just enough CPU":                           {quota("cpu", "3500m", "4"), true},
		"too little CPU":                            {quota("cpu", "3501m", "4"), false},
		"too little CPU by its long name":           {quota("requests.cpu", "3501m", "4"), false},
		"too little CPU to the limit":               {quota("limits.cpu", "3100m", "4"), false},
		"enough CPU to the limit":                   {quota("limits.cpu", "3", "4"), true},
		"too little memory":                         {quota("memory", "3500Mi", "4Gi"), false},
		"memory limits that it does not have":       {quota("limits.memory", "4Gi", "4Gi"), true},
		"no GPU":                                    {quota("requests.example.com/gpu", "2", "2"), false},
		"one GPU":                                   {quota("requests.example.com/gpu", "1", "2"), true},
		"no other thing":                            {quota("requests.example.com/tpu", "2", "2"), true},
		"no more Services":                          {quota("services", "2", "2"), true},
		"a quota that nobody has counted":           {uncounted, true},
		"no more pod that ends":                     {scoped(corev1.ResourceQuotaScopeTerminating), true},
		"no more pod that runs on":                  {scoped(corev1.ResourceQuotaScopeNotTerminating), false},
		"no more pod without requests":              {scoped(corev1.ResourceQuotaScopeBestEffort), true},
		"no more pod with requests":                 {scoped(corev1.ResourceQuotaScopeNotBestEffort), false},
		"no more pod with any class":                {scoped(corev1.ResourceQuotaScopePriorityClass), false},
		"no more pod that reaches into namespaces":  {scoped(corev1.ResourceQuotaScopeCrossNamespacePodAffinity), true},
		"no more pod of its class":                  {classed(corev1.ScopeSelectorOpIn, "low", "high"), false},
		"no more pod of another class":              {classed(corev1.ScopeSelectorOpIn, "low"), true},
		"no more pod but of another class":          {classed(corev1.ScopeSelectorOpNotIn, "low"), false},
		"no more pod but of its class":              {classed(corev1.ScopeSelectorOpNotIn, "high"), true},
		"no more pod without class":                 {classed(corev1.ScopeSelectorOpDoesNotExist), true},
		"no more pod with any class, by a selector": {classed(corev1.ScopeSelectorOpExists), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			quotas := []corev1.ResourceQuota{quota("pods", "1", "1000"), c.quota}
			if got := fits(pod, quotas); got != c.want {
				t.Errorf("fits is %v, want %v", got, c.want)
			}
			want := Refusal("")
			if !c.want {
				want = QuotaFull
			}
			if got := refuseSurroundings(pod, &surroundings{quotas: quotas}); got != want {
				t.Errorf("refused as %q, want %q", got, want)
			}
		})
	}
}
