package drain

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	kubectl "k8s.io/kubectl/pkg/drain"
)

// difference is a way in which we decide otherwise than `kubectl drain --force
// --ignore-daemonsets --delete-emptydir-data` does, by design.
type difference string

const (
	// none: both move the pod, or both leave it.
	none difference = ""
	// finishedPodIsLeft: kubectl deletes a pod that has ended, to leave the node
	// clean. It holds nothing that the machine's end could break, and its object
	// is somebody's record.
	finishedPodIsLeft difference = "finished pod is left"
	// orphanIsLeft: kubectl looks for the DaemonSet, and deletes a pod whose own
	// is gone. So does the garbage collector; the look would be a request a pod.
	orphanIsLeft difference = "orphaned DaemonSet pod is left"
	// nodesPodIsLeft: kubectl knows mirror pods by their annotation alone.
	nodesPodIsLeft difference = "pod that the node owns is left"
	// leavingPodIsAwaited: kubectl evicts a terminating pod once more, which can
	// only shorten its grace.
	leavingPodIsAwaited difference = "terminating pod is awaited"
)

func TestWeSkipWhatKubectlSkips(t *testing.T) {
	t.Parallel()
	orphan := func(pod *corev1.Pod) {
		daemonSet(pod)
		pod.OwnerReferences[0].Name = "gone"
	}
	cases := map[string]struct {
		pod  *corev1.Pod
		want difference
	}{
		"a pod of a ReplicaSet":              {newPod("a"), none},
		"a bare pod":                         {newPod("a", bare), none},
		"a bare pod with an emptyDir":        {newPod("a", bare, emptyDir), none},
		"a pod of a StatefulSet":             {newPod("a", statefulSet, claim), none},
		"a pod of a Job":                     {newPod("a", owner("batch/v1", "Job")), none},
		"a pending pod":                      {newPod("a", phaseOf(corev1.PodPending)), none},
		"a critical pod":                     {newPod("a", withPriority(systemPriority)), none},
		"a pod of a DaemonSet":               {newPod("a", daemonSet), none},
		"a pod of somebody else's DaemonSet": {newPod("a", owner("apps.kruise.io/v1", "DaemonSet")), none},
		"a mirror pod":                       {newPod("a", mirror), none},
		"a mirror pod that the node owns":    {newPod("a", mirror, owner("v1", "Node")), none},
		"a pod that succeeded":               {newPod("a", phaseOf(corev1.PodSucceeded)), finishedPodIsLeft},
		"a pod that failed":                  {newPod("a", phaseOf(corev1.PodFailed)), finishedPodIsLeft},
		"a pod of a DaemonSet that failed":   {newPod("a", daemonSet, phaseOf(corev1.PodFailed)), finishedPodIsLeft},
		"a mirror pod that failed":           {newPod("a", mirror, phaseOf(corev1.PodFailed)), none},
		"a pod of a DaemonSet that is gone":  {newPod("a", orphan), orphanIsLeft},
		"a pod that only the node owns":      {newPod("a", owner("v1", "Node")), nodesPodIsLeft},
		"a terminating pod":                  {newPod("a", terminating), leavingPodIsAwaited},
		"a terminating pod of a DaemonSet":   {newPod("a", daemonSet, terminating), none},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := differences(t, podList(c.pod)); got["default/a"] != c.want {
				t.Errorf("differs from kubectl in %q, want %q", got["default/a"], c.want)
			}
		})
	}
}

// Random pods differ in the ways that are named, and in no other.
func TestWeSkipWhatKubectlSkipsOfAnyPods(t *testing.T) {
	t.Parallel()
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // repeatable on purpose
	pods, want := make([]corev1.Pod, 0, 300), map[string]difference{}
	for i := range cap(pods) {
		pod := randomPod(random, fmt.Sprintf("p%d", i))
		pods = append(pods, *pod)
		_, mirrored := pod.Annotations[corev1.MirrorPodAnnotationKey]
		expected := none
		switch {
		case mirrored:
		case ownedByNode(pod):
			expected = nodesPodIsLeft
		case finished(pod):
			expected = finishedPodIsLeft
		case ownedBy(pod, "DaemonSet"):
		case pod.DeletionTimestamp != nil:
			expected = leavingPodIsAwaited
		}
		if expected != none {
			want[pod.Namespace+"/"+pod.Name] = expected
		}
	}
	if diff := cmp.Diff(want, differences(t, pods)); diff != "" {
		t.Errorf("seed %d: differences from kubectl (-want +got):\n%s", seed, diff)
	}
}

func ownedByNode(pod *corev1.Pod) bool {
	controller := metav1.GetControllerOf(pod)
	return controller != nil && controller.Kind == "Node"
}

// differences decides about pods in both ways and names, for each pod that we
// treat otherwise than kubectl, how; it holds no pod that we treat alike. One
// that has no name yet is called after both decisions.
func differences(t *testing.T, pods []corev1.Pod) map[string]difference {
	t.Helper()
	deleted := kubectlDeletes(t, pods)
	plan := NewPlan("n", pods, NewBudget(noon.Add(2*time.Minute), noon), Policy{})
	found := map[string]difference{}
	for _, move := range plan.Moves {
		switch key := move.String(); {
		case !deleted[key]:
			found[key] = difference("only we move it: " + key)
		case move.Action == Await:
			found[key] = leavingPodIsAwaited
		}
	}
	reasons := map[SkipReason]difference{
		FinishedPod: finishedPodIsLeft, DaemonSetPod: orphanIsLeft, MirrorPod: nodesPodIsLeft,
	}
	for _, skip := range plan.Skips {
		if key := skip.String(); deleted[key] {
			found[key] = reasons[skip.Reason]
		}
	}
	return found
}

// kubectlDeletes returns the pods that `kubectl drain` would delete.
func kubectlDeletes(t *testing.T, pods []corev1.Pod) map[string]bool {
	t.Helper()
	server := httptest.NewServer(listing(t, pods))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	helper := &kubectl.Helper{
		Ctx: t.Context(), Client: client, Force: true, IgnoreAllDaemonSets: true, DeleteEmptyDirData: true,
	}
	list, errs := helper.GetPodsForDeletion("n")
	if len(errs) > 0 {
		t.Fatalf("kubectl lists pods with errors: %v", errs)
	}
	deleted := map[string]bool{}
	for _, pod := range list.Pods() {
		deleted[pod.Namespace+"/"+pod.Name] = true
	}
	return deleted
}

// listing answers the two reads of kubectl's filters as an API server does: the
// pods of the node "n", and the DaemonSet "owner" of any namespace.
func listing(t *testing.T, pods []corev1.Pod) http.Handler {
	t.Helper()
	answer := func(w http.ResponseWriter, code int, object any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(object); err != nil {
			t.Errorf("answering kubectl: %v", err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/pods", func(w http.ResponseWriter, r *http.Request) {
		if selector := r.FormValue("fieldSelector"); selector != "spec.nodeName=n" {
			t.Errorf("kubectl asks for pods with %q", selector)
		}
		answer(w, http.StatusOK, corev1.PodList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: pods,
		})
	})
	mux.HandleFunc("GET /apis/apps/v1/namespaces/{namespace}/daemonsets/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if name != "owner" {
			status := apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "daemonsets"}, name).ErrStatus
			status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
			answer(w, http.StatusNotFound, status)
			return
		}
		answer(w, http.StatusOK, appsv1.DaemonSet{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
			ObjectMeta: metav1.ObjectMeta{Namespace: r.PathValue("namespace"), Name: name},
		})
	})
	return mux
}
