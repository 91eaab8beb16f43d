package drain

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// hashed is the pod-template-hash of the pods of newDeployment's ReplicaSet.
func hashed(pod *corev1.Pod) { label(hashLabel, "abc")(pod) }

func TestHandOverPolicyIsThePodsWhereItHasOne(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		annotation string
		want       HandOverPolicy
	}{
		"a pod without one":               {"", HandOverWhenBlocked},
		"a pod that always wants it":      {"Always", HandOverAlways},
		"a pod that never wants it":       {"Never", HandOverNever},
		"a pod that wants it when needed": {"WhenBlocked", HandOverWhenBlocked},
		"a pod with a typing error":       {"never", HandOverWhenBlocked},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := newPod("a")
			if c.annotation != "" {
				metav1.SetMetaDataAnnotation(&pod.ObjectMeta, HandOverAnnotation, c.annotation)
			}
			if got := PolicyFor(pod, HandOverWhenBlocked); got != c.want {
				t.Errorf("policy is %q, want %q", got, c.want)
			}
		})
	}
}

func TestHandOverOfAPodIsRefusedForWhatItIs(t *testing.T) {
	t.Parallel()
	ports := func(port corev1.ContainerPort) []corev1.Container {
		return []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{port}}}
	}
	cases := map[string]struct {
		with []trait
		want Refusal
	}{
		"a running pod of a ReplicaSet":       {nil, ""},
		"a pod that is not ready":             {[]trait{notReady}, ""},
		"a bare pod":                          {[]trait{bare}, NotOfADeployment},
		"a pod of a StatefulSet":              {[]trait{statefulSet}, NotOfADeployment},
		"a pod of somebody else's ReplicaSet": {[]trait{owner("example.com/v1", "ReplicaSet")}, NotOfADeployment},
		"a pod of a ReplicaSet without hash":  {[]trait{func(pod *corev1.Pod) { delete(pod.Labels, hashLabel) }}, NotOfADeployment},
		"a pod that was deleted":              {[]trait{terminating}, AlreadyEnding},
		"a pod that has failed":               {[]trait{phaseOf(corev1.PodFailed)}, AlreadyEnding},
		"a pod that has not started":          {[]trait{phaseOf(corev1.PodPending)}, NotRunning},
		"a pod that is handed over":           {[]trait{label(HandedOverKey, "abc"), owner("apps/v1", "Deployment")}, AlreadyHanded},
		"a pod on the host's network":         {[]trait{func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }}, HostPort},
		"a pod with a port of the host":       {[]trait{func(pod *corev1.Pod) { pod.Spec.Containers = ports(corev1.ContainerPort{HostPort: 80}) }}, HostPort},
		"a pod whose sidecar has one":         {[]trait{func(pod *corev1.Pod) { pod.Spec.InitContainers = ports(corev1.ContainerPort{HostPort: 80}) }}, HostPort},
		"a pod that names a disk itself": {[]trait{func(pod *corev1.Pod) {
			disk := &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "v"}
			pod.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{AWSElasticBlockStore: disk}}}
		}}, ReadWriteOnce},
		"a pod with a claim of its own, which is read": {[]trait{claim}, ""},
		"a pod with a port of its own":                 {[]trait{func(pod *corev1.Pod) { pod.Spec.Containers = ports(corev1.ContainerPort{ContainerPort: 80}) }}, ""},
		"a handed-over pod that was then deleted":      {[]trait{label(HandedOverKey, "abc"), terminating}, AlreadyEnding},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := newPod("a", append([]trait{hashed}, c.with...)...)
			if got := refusePod(pod); got != c.want {
				t.Errorf("refused as %q, want %q", got, c.want)
			}
		})
	}
}

func TestHandOverIsRefusedForTheOwnersOwner(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		apiVersion, kind string
		want             Refusal
	}{
		"a ReplicaSet of a Deployment":               {"apps/v1", "Deployment", ""},
		"a ReplicaSet of nobody":                     {"", "", NotOfADeployment},
		"a ReplicaSet of an Argo Rollout":            {"argoproj.io/v1alpha1", "Rollout", ArgoRollout},
		"a ReplicaSet of a Rollout of another brand": {"example.com/v1", "Rollout", NotOfADeployment},
		"a ReplicaSet of another's Deployment":       {"example.com/v1", "Deployment", NotOfADeployment},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, rs := newDeployment()
			if rs.OwnerReferences = nil; c.kind != "" {
				controller := true
				rs.OwnerReferences = []metav1.OwnerReference{{APIVersion: c.apiVersion, Kind: c.kind, Name: "web", Controller: &controller}}
			}
			parent, got := refuseOwner(rs)
			if got != c.want || (got == "") != (parent != nil) {
				t.Errorf("refused as %q with owner %v, want %q", got, parent, c.want)
			}
		})
	}
}

// newDeployment returns a complete Deployment of 10 with a surge of 25 %, and its
// ReplicaSet.
func newDeployment() (*appsv1.Deployment, *appsv1.ReplicaSet) {
	size, surge := int32(10), intstr.FromString("25%")
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-web", Generation: 3},
		Spec: appsv1.DeploymentSpec{Replicas: &size, Template: template, Strategy: appsv1.DeploymentStrategy{
			Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge},
		}},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 10, UpdatedReplicas: 10, AvailableReplicas: 10},
	}
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "web-abc", UID: "uid-owner",
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{Template: *template.DeepCopy()},
	}
	rs.Spec.Template.Labels[hashLabel] = "abc"
	return d, rs
}

func TestHandOverIsRefusedForTheDeployment(t *testing.T) {
	t.Parallel()
	surge := func(value intstr.IntOrString) func(*appsv1.Deployment, *appsv1.ReplicaSet) {
		return func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) { d.Spec.Strategy.RollingUpdate.MaxSurge = &value }
	}
	cases := map[string]struct {
		with   func(*appsv1.Deployment, *appsv1.ReplicaSet)
		handed int
		want   Refusal
	}{
		"a complete one": {},
		"one that must not run two pods at a time": {with: func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) {
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		}, want: Recreate},
		"one that is held back": {with: func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) { d.Spec.Paused = true }, want: Paused},
		"one with a newer template": {with: func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) {
			d.Spec.Template.Spec.Hostname = "new"
		}, want: NotTheCurrentReplicaSet},
		"one that does not own the ReplicaSet": {with: func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) { d.UID = "uid-namesake" }, want: NotTheCurrentReplicaSet},
		"one whose ReplicaSet is being deleted": {with: func(_ *appsv1.Deployment, rs *appsv1.ReplicaSet) {
			rs.DeletionTimestamp = &metav1.Time{Time: noon}
		}, want: NotTheCurrentReplicaSet},
		"one that is being deleted": {with: func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) {
			d.DeletionTimestamp = &metav1.Time{Time: noon}
		}, want: NotTheCurrentReplicaSet},
		"one that its controller has not seen":     {with: func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) { d.Generation = 4 }, want: RollingOut},
		"one with pods of an older template":       {with: func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) { d.Status.UpdatedReplicas = 9 }, want: RollingOut},
		"one that lacks pods, as in a storm":       {with: func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) { d.Status.Replicas, d.Status.UpdatedReplicas = 7, 7 }},
		"one whose pods are not all available":     {with: func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) { d.Status.AvailableReplicas = 2 }},
		"one without surge":                        {with: surge(intstr.FromInt32(0)), want: NoSurge},
		"one with a surge of nothing":              {with: surge(intstr.FromString("0%")), want: NoSurge},
		"one with a surge that rounds up to one":   {with: surge(intstr.FromString("1%"))},
		"one that has used that one":               {with: surge(intstr.FromString("1%")), handed: 1, want: SurgeInUse},
		"one that has used two of 25 % of ten":     {handed: 2},
		"one that has used three of 25 % of ten":   {handed: 3, want: SurgeInUse},
		"one that has more than it may":            {handed: 9, want: SurgeInUse},
		"one with no word about rolling":           {with: func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) { d.Spec.Strategy.RollingUpdate = nil }, want: NoSurge},
		"one that cannot make pods":                {with: failing(corev1.ConditionTrue), want: ReplicaFailure},
		"one that could not make pods in the past": {with: failing(corev1.ConditionFalse)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, rs := newDeployment()
			if c.with != nil {
				c.with(d, rs)
			}
			if got := refuseDeployment(d, rs, c.handed); got != c.want {
				t.Errorf("refused as %q, want %q", got, c.want)
			}
		})
	}
}

func failing(status corev1.ConditionStatus) func(*appsv1.Deployment, *appsv1.ReplicaSet) {
	return func(d *appsv1.Deployment, _ *appsv1.ReplicaSet) {
		d.Status.Conditions = []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentReplicaFailure, Status: status, Reason: "FailedCreate", Message: "no",
		}}
	}
}

func TestHandOverIsRefusedWhereTheHashIsSelectedOn(t *testing.T) {
	t.Parallel()
	hash := &metav1.LabelSelector{MatchLabels: map[string]string{hashLabel: "abc"}}
	other := &metav1.LabelSelector{MatchLabels: map[string]string{hashLabel: "xyz"}}
	plain := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	absent := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: hashLabel, Operator: metav1.LabelSelectorOpDoesNotExist}}}
	all := &metav1.LabelSelector{}
	service := func(selector map[string]string) *surroundings {
		return &surroundings{services: []corev1.Service{{Spec: corev1.ServiceSpec{Selector: selector}}}}
	}
	budget := func(selector *metav1.LabelSelector) *surroundings {
		return &surroundings{budgets: []policyv1.PodDisruptionBudget{{Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector}}}}
	}
	policy := func(spec networkingv1.NetworkPolicySpec) *surroundings {
		return &surroundings{policies: []networkingv1.NetworkPolicy{{Spec: spec}}}
	}
	peers := []networkingv1.NetworkPolicyPeer{{PodSelector: hash}}
	cases := map[string]struct {
		around *surroundings
		want   Refusal
	}{
		"nothing around":                        {&surroundings{}, ""},
		"a Service of the hash":                 {service(map[string]string{"app": "web", hashLabel: "abc"}), ServiceSelectsOnHash},
		"a Service of another hash":             {service(map[string]string{"app": "web", hashLabel: "xyz"}), ""},
		"a Service of the app":                  {service(map[string]string{"app": "web"}), ""},
		"a Service without selector":            {service(nil), ""},
		"a budget of the hash":                  {budget(hash), BudgetSelectsOnHash},
		"a budget of another hash":              {budget(other), ""},
		"a budget of pods without hash":         {budget(absent), BudgetSelectsOnHash},
		"a budget of the app":                   {budget(plain), ""},
		"a budget of all pods":                  {budget(all), ""},
		"a budget of no pods":                   {budget(nil), ""},
		"a policy about the hash":               {policy(networkingv1.NetworkPolicySpec{PodSelector: *hash}), PolicySelectsOnHash},
		"a policy about the app":                {policy(networkingv1.NetworkPolicySpec{PodSelector: *plain}), ""},
		"a policy that lets the hash in":        {policy(networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peers}}}), PolicySelectsOnHash},
		"a policy that lets out to the hash":    {policy(networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{To: peers}}}), PolicySelectsOnHash},
		"a policy that lets a namespace in":     {policy(networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: all}}}}}), ""},
		"an affinity of another pod":            {&surroundings{affinities: []affinity{{"uid-b", hash}}}, AffinitySelectsOnHash},
		"an affinity of its own":                {&surroundings{affinities: []affinity{{"uid-a", hash}}}, ""},
		"an affinity of another pod to another": {&surroundings{affinities: []affinity{{"uid-b", other}}}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := refuseSurroundings(newPod("a", hashed, label("app", "web")), c.around); got != c.want {
				t.Errorf("refused as %q, want %q", got, c.want)
			}
		})
	}
}

func TestHandOverKeepsOnlyAffinitiesThatNameTheHash(t *testing.T) {
	t.Parallel()
	term := func(key string) corev1.PodAffinityTerm {
		return corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpExists}},
		}}
	}
	both := []corev1.PodAffinityTerm{term(hashLabel), term("app"), {}}
	weighted := []corev1.WeightedPodAffinityTerm{{PodAffinityTerm: term(hashLabel)}, {PodAffinityTerm: term("app")}}
	pod := newPod("b")
	pod.Spec.Affinity = &corev1.Affinity{
		PodAffinity:     &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: both, PreferredDuringSchedulingIgnoredDuringExecution: weighted},
		PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: both, PreferredDuringSchedulingIgnoredDuringExecution: weighted},
	}
	one := affinity{"uid-b", term(hashLabel).LabelSelector}
	if diff := cmp.Diff([]affinity{one, one, one, one}, hashAffinities(pod), cmp.AllowUnexported(affinity{})); diff != "" {
		t.Errorf("affinities (-want +got):\n%s", diff)
	}
	if got := hashAffinities(newPod("c")); got != nil {
		t.Errorf("a pod without any has %v", got)
	}
}

func TestHandOverKnowsWhichVolumesTwoNodesCanMount(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		modes []corev1.PersistentVolumeAccessMode
		want  bool
	}{
		"one node":                   {[]corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, false},
		"one pod":                    {[]corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}, false},
		"many nodes":                 {[]corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, true},
		"many readers":               {[]corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}, true},
		"one writer or many readers": {[]corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadOnlyMany}, true},
		"nobody says":                {nil, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{AccessModes: c.modes}}
			if got := shareable(claim); got != c.want {
				t.Errorf("shareable is %v, want %v", got, c.want)
			}
		})
	}
}

func TestHandOverCountsPodsAsAReplicaSetDoes(t *testing.T) {
	t.Parallel()
	since := func(at time.Time) trait {
		return func(pod *corev1.Pod) { pod.Status.Conditions[0].LastTransitionTime = metav1.NewTime(at) }
	}
	cases := map[string]struct {
		with    []trait
		seconds int32
		want    bool
	}{
		"a pod that is ready":                 {[]trait{since(noon)}, 0, true},
		"a pod that is not":                   {[]trait{since(noon), notReady}, 0, false},
		"a pod that is ending":                {[]trait{since(noon), terminating}, 0, false},
		"a pod that is ready for too short":   {[]trait{since(noon.Add(-9 * time.Second))}, 10, false},
		"a pod that is ready for long":        {[]trait{since(noon.Add(-10 * time.Second))}, 10, true},
		"a pod that nobody has probed so far": {[]trait{func(pod *corev1.Pod) { pod.Status.Conditions = nil }}, 0, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := availableAt(newPod("a", c.with...), c.seconds, noon); got != c.want {
				t.Errorf("available is %v, want %v", got, c.want)
			}
		})
	}
}

func TestHandOverWaitsForAsManyAsThereWere(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		available, wanted int32
		counts            bool
		want              int32
	}{
		"all of them":                         {10, 10, true, 10},
		"the rest of a storm":                 {3, 10, true, 3},
		"one more than a pod that never was":  {9, 10, false, 10},
		"no more than the Deployment wants":   {10, 4, true, 4},
		"one where there is not even the one": {0, 1, false, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := newDeployment()
			d.Spec.Replicas, d.Status.AvailableReplicas = &c.wanted, c.available
			if got := enough(d, c.counts); got != c.want {
				t.Errorf("waits for %d, want %d", got, c.want)
			}
		})
	}
}
