package drain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

// Each Deployment of one stage has something against a hand-over, except the last.
func TestHandOverIsRefusedOnAClusterToo(t *testing.T) {
	t.Parallel()
	const strategy = "{rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}"
	const containers = "containers: [{name: c, image: none}]"
	const disk = "volumes: [{name: d, persistentVolumeClaim: {claimName: %s}}]\n      " + containers
	s := newStage(t, 13,
		volume("once", "ReadWriteOnce"), volume("many", "ReadWriteMany"),
		web("recreate", 1, strategy, "{type: Recreate}"),
		web("paused", 1), web("rolled", 1), // see below
		web("surgeless", 1, "maxSurge: 1, maxUnavailable: 0", "maxSurge: 0, maxUnavailable: 1"),
		web("port", 1, containers, "containers: [{name: c, image: none, ports: [{containerPort: 80, hostPort: 8080}]}]"),
		web("once", 1, containers, fmt.Sprintf(disk, "once")), web("many", 1, containers, fmt.Sprintf(disk, "many")),
		web("service", 1), web("budget", 1), web("policy", 1), web("affinity", 1),
		`{apiVersion: v1, kind: Pod, metadata: {name: bare}, spec: {nodeSelector: {stage: "${stage}"}, `+containers+`}}`,
		`{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: argo, ownerReferences: [
		  {apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: argo, uid: 0c5e2c6c-0000-4000-8000-000000000000, controller: true}]},
		  spec: {selector: {matchLabels: {app: argo}}, template: {metadata: {labels: {app: argo, pod-template-hash: x}},
		  spec: {nodeSelector: {stage: "${stage}"}, `+containers+`}}}}`,
	)
	hash := func(app string) string { return s.pod(app + "-").Labels[hashLabel] }
	s.apply(
		fmt.Sprintf(`{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {selector: {pod-template-hash: %q}, ports: [{port: 80}]}}`, hash("service")),
		fmt.Sprintf(`{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: b},
		  spec: {minAvailable: 1, selector: {matchLabels: {pod-template-hash: %q}}}}`, hash("budget")),
		fmt.Sprintf(`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p},
		  spec: {podSelector: {matchLabels: {pod-template-hash: %q}}}}`, hash("policy")),
		fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: clinging}, spec: {nodeSelector: {stage: none}, affinity: {podAffinity: {
		  requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname,
		  labelSelector: {matchLabels: {pod-template-hash: %q}}}]}}, `+containers+`}}`, hash("affinity")),
	)
	patch := func(name, patch string) {
		_, err := s.lab.Client().AppsV1().Deployments(s.namespace).
			Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
		s.must(err)
	}
	patch("paused", `{"spec":{"paused":true}}`)
	// To a template whose pods never get Ready, so that the old one stays.
	patch("rolled", `{"spec":{"template":{"metadata":{"annotations":{"lab.ebbtide.dev/ready-after":"never"}}}}}`)

	h := s.handOvers()
	want := map[string]Refusal{
		"recreate": Recreate, "paused": Paused, "rolled": NotTheCurrentReplicaSet, "surgeless": NoSurge, "port": HostPort,
		"once": ReadWriteOnce, "service": ServiceSelectsOnHash, "budget": BudgetSelectsOnHash, "policy": PolicySelectsOnHash,
		"affinity": AffinitySelectsOnHash, "bare": NotOfADeployment, "argo": ArgoRollout, "many": "",
	}
	for name, refusal := range want {
		got, err := h.Begin(s.within(20*time.Second), s.pod(name))
		if err != nil || got != refusal {
			t.Errorf("a pod of %s is refused as %q, %v; want %q", name, got, err, refusal)
		}
	}
	for _, pod := range s.pods() {
		_, handed := pod.Labels[HandedOverKey]
		if many := strings.HasPrefix(pod.Name, "many"); handed != many {
			t.Errorf("pod %q is handed over: %v, want %v", pod.Name, handed, many)
		}
	}
}

// volume is a claim with its volume, for which nothing needs to be made.
func volume(name, mode string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: "${stage}-%[1]s"}
spec:
  accessModes: [%[2]s]
  capacity: {storage: 1Gi}
  hostPath: {path: /none}
  claimRef: {namespace: "${stage}", name: %[1]s}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %[1]s}
spec: {accessModes: [%[2]s], storageClassName: "", volumeName: "${stage}-%[1]s", resources: {requests: {storage: 1Gi}}}
`, name, mode)
}

func TestHandOverIsRefusedWhileTheSurgeIsUsedAndPassesLater(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, web("web", 2))
	h, pods := s.handOvers(), s.pods()
	first := s.begun(h, &pods[0])
	for _, agent := range []*HandOvers{h, s.handOvers()} {
		refusal, err := agent.Begin(t.Context(), &pods[1])
		if err != nil || refusal != SurgeInUse || !refusal.Passes() {
			t.Errorf("a second pod is refused as %q, %v; want %q, which passes", refusal, err, SurgeInUse)
		}
	}
	s.succeeded(h, first)
	s.must(h.client.Evict(t.Context(), first, 5*time.Second))
	s.waitPods(10*time.Second, count(2))
	s.begun(s.handOvers(), s.pod(pods[1].Name))
}

func TestHandOverIsRefusedForAFullQuota(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	s.quota(1)
	if refusal, err := s.handOvers().Begin(t.Context(), s.pod("web")); refusal != QuotaFull || err != nil {
		t.Errorf("refused as %q, %v; want %q", refusal, err, QuotaFull)
	}
}

func TestHandOverAsksLittleOfTheAPIServer(t *testing.T) {
	t.Parallel()
	const replicas = 10
	s := newStage(t, replicas, web("web", replicas, "maxSurge: 1", "maxSurge: 50%"))
	h := s.handOvers()
	var begun []PodRef
	began := time.Now()
	for _, pod := range s.pods() {
		refusal, err := h.Begin(t.Context(), &pod)
		s.must(err)
		if refusal == "" {
			begun = append(begun, refOf(&pod))
		}
	}
	took := time.Since(began)
	if len(begun) != replicas/2 {
		t.Fatalf("%d pods were handed over, want half of %d", len(begun), replicas)
	}
	if took > lineageAge {
		t.Logf("this machine is slow (%v): Deployments were read more than once", took)
	}
	s.waitPods(10*time.Second, lab.AllReady(replicas+len(begun)))
	waits := make(chan error, len(begun))
	for _, ref := range begun {
		go func() {
			end, why, err := h.Await(s.within(20*time.Second), ref)
			if err == nil && end != Ready {
				err = fmt.Errorf("the wait for pod %q ends with %q: %s", ref, end, why)
			}
			waits <- err
		}()
	}
	for range begun {
		s.must(<-waits)
	}
	asked := s.requests()
	t.Logf("%d pods handed over in %v: %v", len(begun), took, asked)
	// Of each kind once for all of them, and once again for each second it took.
	slow := 1 + int(took/lineageAge)
	want := map[string]int{
		"get replicasets": slow, "get deployments": slow, "list services": slow, "list resourcequotas": slow,
		"list networkpolicies": slow, "list poddisruptionbudgets": slow, "watch deployments": 1, "patch pods": len(begun),
		// Those handed over and those with affinities, those handed over at each
		// patch, and those that are available, since the waits began too late to
		// have seen the Deployment lack one.
		"list pods": 2*slow + len(begun) + 2,
	}
	for what, n := range asked {
		if n > want[what] {
			t.Errorf("asked to %s %d times, want at most %d", what, n, want[what])
		}
	}
}

// requests counts what the agent has asked for, by verb and resource.
func (s *stage) requests() map[string]int {
	s.Helper()
	all, err := s.lab.Requests(s.Context(), lab.ServiceAccountUser(s.namespace, "agent"))
	s.must(err)
	asked := map[string]int{}
	for _, request := range all {
		asked[request.Verb+" "+request.Resource]++
	}
	return asked
}

// What cannot be known is not taken for a yes, and not for a no.
func TestHandOverFailsWhereItMayNotAsk(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, web("web", 1))
	// A ClusterRole of the lab has a rule for each permission, in their order.
	rule := slices.IndexFunc(Permissions, func(p Permission) bool { return p.Resource == "networkpolicies" })
	patch := fmt.Appendf(nil, `[{"op":"remove","path":"/rules/%d"}]`, rule)
	_, err := s.lab.Client().RbacV1().ClusterRoles().
		Patch(t.Context(), "lab:"+s.namespace+":agent", types.JSONPatchType, patch, metav1.PatchOptions{})
	s.must(err)
	h, old, ctx := s.handOvers(), s.pod("web"), s.within(10*time.Second)
	for denied := false; !denied; denied = apierrors.IsForbidden(err) {
		s.must(ctx.Err()) // the API server takes a moment to take the change in
		_, err = h.client.surroundings(ctx, s.namespace)
	}
	refusal, err := h.Begin(ctx, old)
	if refusal != "" || !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "listing networkpolicies of namespace") {
		t.Errorf("refused as %q, %v; want an error that names what is forbidden", refusal, err)
	}
	if pod := s.pod("web"); pod.ResourceVersion != old.ResourceVersion {
		t.Errorf("the pod was written: %+v", pod.ObjectMeta)
	}
}

func TestHandOverKeepsTheOtherOwnersAndWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	d, _ := newDeployment()
	pod := newPod("a", hashed, label("app", "web"))
	pod.ResourceVersion = "7"
	friend := metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Friend", Name: "f", UID: "uid-f"}
	pod.OwnerReferences = append([]metav1.OwnerReference{friend}, pod.OwnerReferences...)
	patch := handOverPatch(pod, d, HandOver{Hash: "abc", ReplicaSet: "owner", ReplicaSetUID: "uid-owner"}).Metadata
	switch owners := patch.OwnerReferences; {
	case patch.UID != pod.UID, patch.ResourceVersion != "7":
		t.Errorf("the patch is for UID %q at %q", patch.UID, patch.ResourceVersion)
	case len(owners) != 2, owners[0] != friend, owners[1].Kind != "Deployment", owners[1].UID != d.UID, !*owners[1].Controller:
		t.Errorf("the owners are %+v", owners)
	case pod.OwnerReferences[1].Kind != "ReplicaSet":
		t.Errorf("the pod that was looked at has changed: %+v", pod.OwnerReferences)
	}
}

func TestHandedOverPodsThatCannotBeReadAreAnError(t *testing.T) {
	t.Parallel()
	pod := newPod("a", label(HandedOverKey, "abc"))
	for _, text := range []string{"", "{", `"abc"`} {
		pod.Annotations = map[string]string{HandedOverKey: text}
		if handOver, err := HandOverOf(pod); err == nil || handOver != nil {
			t.Errorf("%q reads as %+v, %v; want an error", text, handOver, err)
		}
	}
	if handOver, err := HandOverOf(&corev1.Pod{}); handOver != nil || err != nil {
		t.Errorf("a pod that is not handed over reads as %+v, %v", handOver, err)
	}
}
